// A CUDA driver for tests: device memory is the heap, work is done when it is
// enqueued, and a stream's clock says how long it took: 0.5 ms for a copy, what
// fake_work says for work. It counts what is alive.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

struct Graph {
  std::vector<std::function<void()>> work;
};
struct CUstream_st {
  double now = 0;
  Graph* capture = nullptr;
};
struct CUevent_st {
  double at = 0;
};

namespace {
constexpr int ok = 0, invalid = 1, out_of_memory = 2;
std::atomic<long> alive{0}, allocated{0};
thread_local void* current = nullptr;
int context = 0;

// What needs a current context, as everything but asking for one does.
int with_context(int code = ok) { return current == &context ? code : 201; }

void submit(CUstream_st* s, std::function<void()> work, double milliseconds) {
  auto timed = [=] {
    work();
    s->now += milliseconds;
  };
  if (s->capture != nullptr) {
    s->capture->work.push_back(timed);
  } else {
    timed();
  }
}
} // namespace

API long fake_alive() { return alive; }
extern "C" {
__attribute__((visibility("default"))) std::atomic<long> fake_memory{1 << 20}; // of the device, bytes
__attribute__((visibility("default"))) std::atomic<long> fake_launches{0};     // of graphs
}
API bool fake_capturing(CUstream_st* s) { return s->capture != nullptr; }
API void fake_work(CUstream_st* s, void (*f)(void*), void* argument, double milliseconds) {
  submit(s, [=] { f(argument); }, milliseconds);
}

API int cuInit(unsigned) { return ok; }
API int cuGetErrorName(int code, const char** name) {
  *name = code == out_of_memory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OTHER";
  return ok;
}
API int cuGetErrorString(int, const char** text) {
  *text = "told by the fake driver";
  return ok;
}
API int cuDeviceGetCount(int* n) { return *n = 1, ok; }
API int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ok; }
API int cuDevicePrimaryCtxRetain(void** c, int) { return ++alive, *c = &context, ok; }
API int cuDevicePrimaryCtxRelease_v2(int) { return --alive, ok; }
API int cuCtxSetCurrent(void* c) { return current = c, ok; }
API int cuMemGetInfo_v2(size_t* free, size_t* total) {
  *total = static_cast<size_t>(fake_memory);
  *free = static_cast<size_t>(fake_memory - allocated);
  return with_context();
}
API int cuMemAlloc_v2(unsigned long long* p, size_t bytes) {
  if (allocated + static_cast<long>(bytes) > fake_memory) return out_of_memory;
  allocated += static_cast<long>(bytes);
  ++alive;
  auto* block = static_cast<size_t*>(std::malloc(bytes + 16));
  *block = bytes;
  *p = reinterpret_cast<unsigned long long>(block + 2);
  return with_context();
}
API int cuMemFree_v2(unsigned long long p) {
  auto* block = reinterpret_cast<size_t*>(p) - 2;
  allocated -= static_cast<long>(*block);
  std::free(block);
  return --alive, ok;
}
API int cuMemHostAlloc(void** p, size_t bytes, unsigned) { return ++alive, *p = std::malloc(bytes), with_context(); }
API int cuMemFreeHost(void* p) { return std::free(p), --alive, ok; }
API int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t bytes, CUstream_st* s) {
  submit(s, [=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); }, 0.5);
  return with_context();
}
API int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, CUstream_st* s) {
  submit(s, [=] { std::memcpy(to, reinterpret_cast<void*>(from), bytes); }, 0.5);
  return with_context();
}
API int cuStreamCreate(CUstream_st** s, unsigned) { return ++alive, *s = new CUstream_st, with_context(); }
API int cuStreamDestroy_v2(CUstream_st* s) { return delete s, --alive, ok; }
API int cuStreamSynchronize(CUstream_st* s) { return s->capture != nullptr ? invalid : with_context(); }
API int cuStreamBeginCapture_v2(CUstream_st* s, int) { return ++alive, s->capture = new Graph, ok; }
API int cuStreamEndCapture(CUstream_st* s, Graph** g) { return *g = s->capture, s->capture = nullptr, ok; }
API int cuEventCreate(CUevent_st** e, unsigned) { return ++alive, *e = new CUevent_st, with_context(); }
API int cuEventDestroy_v2(CUevent_st* e) { return delete e, --alive, ok; }
API int cuEventRecord(CUevent_st* e, CUstream_st* s) { return e->at = s->now, with_context(); }
API int cuEventQuery(CUevent_st*) { return with_context(); }
API int cuEventSynchronize(CUevent_st*) { return with_context(); }
API int cuEventElapsedTime(float* milliseconds, CUevent_st* a, CUevent_st* b) {
  return *milliseconds = static_cast<float>(b->at - a->at), ok;
}
API int cuGraphInstantiateWithFlags(Graph** exec, Graph* g, unsigned long long) { return ++alive, *exec = new Graph(*g), ok; }
API int cuGraphLaunch(Graph* exec, CUstream_st*) {
  ++fake_launches;
  for (const auto& work : exec->work) work();
  return with_context();
}
API int cuGraphDestroy(Graph* g) { return delete g, --alive, ok; }
API int cuGraphExecDestroy(Graph* g) { return delete g, --alive, ok; }
