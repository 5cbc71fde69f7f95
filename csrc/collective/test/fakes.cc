// A NCCL and a CUDA driver for tests: device memory is the heap, the processes of a
// group are threads of one program, and what they sum is there when all have come. A
// stream's work is a list of things still to happen; asking for the stream does what
// can be done.
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

std::mutex mutex;
thread_local void* current = nullptr;
int context = 0;
long alive = 0; // comms, streams, memory, held contexts

// One sum or broadcast of a group.
struct Round {
  std::vector<const void*> from;
  std::vector<unsigned char> result;
  size_t came = 0;
};

struct World {
  int size = 0;
  std::deque<Round> rounds;
};

std::map<std::string, std::shared_ptr<World>> worlds;

size_t width(int type) { return type == 8 ? 8 : type == 7 ? 4 : 1; }

template <class T>
void fold(const Round& r, size_t count, int op, T* out) {
  for (size_t i = 0; i < count; i++) {
    T v = static_cast<const T*>(r.from[0])[i];
    for (size_t k = 1; k < r.from.size(); k++) {
      const T other = static_cast<const T*>(r.from[k])[i];
      v = op == 0 ? v + other : (other > v ? other : v);
    }
    out[i] = v;
  }
}

}  // namespace

struct CUstream_st {
  std::deque<std::function<bool()>> work; // true: done
};

struct ncclComm {
  std::shared_ptr<World> world;
  int rank = 0;
  size_t next = 0; // round
};

struct id {
  char bytes[128];
};

API long fake_alive() { return alive; }

API int cuInit(unsigned) { return 0; }
API int cuGetErrorName(int, const char** name) { return *name = "CUDA_ERROR_FAKE", 0; }
API int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal < 8 ? 0 : 101; }
API int cuDevicePrimaryCtxRetain(void** c, int) { std::lock_guard l(mutex); return *c = &context, alive++, 0; }
API int cuDevicePrimaryCtxRelease_v2(int) { std::lock_guard l(mutex); return alive--, 0; }
API int cuCtxSetCurrent(void* c) { return current = c, 0; }
API int cuMemAlloc_v2(unsigned long long* p, size_t n) {
  std::lock_guard l(mutex);
  alive++;
  *p = reinterpret_cast<unsigned long long>(std::calloc(1, n));
  return current == &context ? 0 : 201;
}
API int cuMemFree_v2(unsigned long long p) { std::lock_guard l(mutex); return alive--, std::free(reinterpret_cast<void*>(p)), 0; }
API int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t n, CUstream_st* s) {
  s->work.push_back([=] { return std::memcpy(reinterpret_cast<void*>(to), from, n), true; });
  return 0;
}
API int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t n, CUstream_st* s) {
  s->work.push_back([=] { return std::memcpy(to, reinterpret_cast<void*>(from), n), true; });
  return 0;
}
API int cuStreamCreate(CUstream_st** s, unsigned) { std::lock_guard l(mutex); return alive++, *s = new CUstream_st, 0; }
API int cuStreamDestroy_v2(CUstream_st* s) { std::lock_guard l(mutex); return alive--, delete s, 0; }
API int cuStreamQuery(CUstream_st* s) {
  std::lock_guard l(mutex);
  while (!s->work.empty() && s->work.front()()) s->work.pop_front();
  return s->work.empty() ? 0 : 600;
}

API int ncclGetVersion(int* v) { return *v = 22804, 0; }
API const char* ncclGetErrorString(int) { return "a remote process is gone"; }
API int ncclGetUniqueId(id* i) { return std::memset(i, 'u', sizeof *i), 0; }
API int ncclCommInitRank(ncclComm** c, int size, id i, int rank) {
  std::lock_guard l(mutex);
  auto& w = worlds[std::string(i.bytes, sizeof i.bytes)];
  if (!w) w = std::make_shared<World>();
  w->size = size;
  *c = new ncclComm{w, rank, 0};
  alive++;
  return 0;
}
API int ncclCommDestroy(ncclComm* c) { std::lock_guard l(mutex); return alive--, delete c, 0; }
API int ncclCommAbort(ncclComm* c) { return ncclCommDestroy(c); }
API int ncclCommGetAsyncError(ncclComm*, int* code) { return *code = 0, 0; }

namespace {

int submit(const void* from, void* to, size_t count, int type, int op, int root, ncclComm* c, CUstream_st* s) {
  const size_t number = c->next++, bytes = count * width(type);
  bool came = false;
  s->work.push_back([=]() mutable { // called with the lock held
    World& w = *c->world;
    while (w.rounds.size() <= number) w.rounds.emplace_back();
    Round& r = w.rounds[number];
    if (!came) {
      came = true;
      r.from.resize(static_cast<size_t>(w.size));
      r.from[static_cast<size_t>(c->rank)] = from;
      if (++r.came == r.from.size()) { // the last one works for all
        r.result.resize(bytes);
        if (root >= 0) std::memcpy(r.result.data(), r.from[static_cast<size_t>(root)], bytes);
        else if (type == 8) fold(r, count, op, reinterpret_cast<double*>(r.result.data()));
        else fold(r, count, op, reinterpret_cast<float*>(r.result.data()));
      }
    }
    if (r.came < r.from.size()) return false;
    std::memcpy(to, r.result.data(), bytes);
    return true;
  });
  return 0;
}

}  // namespace

API int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, ncclComm* c, CUstream_st* s) {
  return submit(from, to, count, type, op, -1, c, s);
}
API int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, ncclComm* c, CUstream_st* s) {
  return submit(from, to, count, type, 0, root, c, s);
}
