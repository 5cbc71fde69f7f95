// NCCL behind collective.h. It works on device memory, on a stream of its own beside
// the compute backend's in the same (primary) context; what lies in host memory goes
// through a buffer on the device. Its kernels wait for the others on the GPU; here it
// is asked now and then whether they are through, and whether NCCL has found that
// another process is gone.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "guard.h"
#include "nap.h"
#include "nvidia.h"

struct trtact_group {
  explicit trtact_group(const trtact_collective_place& p) : rank(p.rank), size(p.size) {
    using trtact::collective::nccl;
    nccl(); // missing: nothing is to be undone
    const auto& d = trtact::collective::driver();
    d.check(d.device_get(&device, p.device), "get the CUDA device");
    d.check(d.context_retain(&context, device), "use the CUDA device");
    try {
      enter();
      d.check(d.stream_create(&stream, trtact::collective::CUDA_STREAM_NON_BLOCKING), "create a CUDA stream"); // not in step with the legacy stream
      reserve(64);
      nccl().check(nccl().init_rank(&comm, size, p.id, rank), "join the other processes");
    } catch (...) {
      release(false);
      throw;
    }
  }

  // CUDA keeps the current context for each host thread.
  void enter() const {
    const auto& d = trtact::collective::driver();
    d.check(d.context_set(context), "use the CUDA device");
  }

  // Makes room for so many bytes in the buffer for host memory.
  void reserve(size_t bytes) {
    const auto& d = trtact::collective::driver();
    if (bytes <= room) return;
    if (room > 0) d.free(buffer);
    room = 0;
    d.check(d.allocate(&buffer, bytes), "allocate device memory");
    room = bytes;
  }

  void release(bool clean) {
    const auto& d = trtact::collective::driver();
    const auto& n = trtact::collective::nccl();
    d.context_set(context);
    if (comm != nullptr) clean ? n.destroy(comm) : n.abort(comm);
    if (room > 0) d.free(buffer);
    if (stream != nullptr) d.stream_destroy(stream);
    d.context_release(device);
  }

  int rank, size, device = 0;
  trtact::collective::Context* context = nullptr;
  trtact::collective::Stream* stream = nullptr;
  trtact::collective::Comm* comm = nullptr;
  trtact::collective::DevicePointer buffer = 0;
  size_t room = 0;
  bool arriving = false;
  std::atomic<bool> abandoned{false};
};

namespace trtact::collective {
namespace {

constexpr int long_time = 1000; // milliseconds between two looks at nothing but the end

// Ends what NCCL waits for, and says why.
[[noreturn]] void give_up(trtact_group* g, const std::string& why) {
  Comm* comm = g->comm;
  g->comm = nullptr;
  if (comm != nullptr) nccl().abort(comm);
  throw std::runtime_error("NCCL: " + why);
}

// Whether the stream's work is done; throws when it never will be.
bool done(trtact_group* g) {
  if (g->comm == nullptr || g->abandoned) give_up(g, "another process is gone");
  int code = 0;
  nccl().check(nccl().async_error(g->comm, &code), "look after it");
  if (code != NCCL_SUCCESS && code != NCCL_IN_PROGRESS) give_up(g, nccl().error_string(code));
  const int state = driver().stream_query(g->stream);
  if (state == CUDA_NOT_READY) return false;
  driver().check(state, "wait for NCCL");
  return true;
}

void finish(trtact_group* g) {
  while (!wait_for(long_time, [&] { return done(g); })) {
  }
}

void* pointer(DevicePointer p) { return reinterpret_cast<void*>(p); }

int32_t version(char* slot, size_t n, trtact_error* error) {
  return guarded(error, [&] {
    int v = 0;
    nccl().check(nccl().version(&v), "ask for its version");
    const int major = v >= 10000 ? 10000 : 1000; // 22804 is 2.28.4; before 2.9, 2804 was 2.8.4
    std::snprintf(slot, n, "%d.%d.%d", v / major, v % major / 100, v % 100);
  });
}

int32_t make_id(trtact_collective_id* id, trtact_error* error) {
  return guarded(error, [&] { nccl().check(nccl().unique_id(id), "make an id"); });
}

int32_t join(const trtact_collective_place* place, trtact_group** out, trtact_error* error) {
  return guarded(error, [&] { *out = new trtact_group(*place); });
}

int32_t rank(const trtact_group* g) { return g->rank; }
int32_t size(const trtact_group* g) { return g->size; }

// The barrier is a sum of one number.
int32_t arrive(trtact_group* g, int32_t milliseconds, int32_t* all, trtact_error* error) {
  return guarded(error, [&] {
    g->enter();
    if (!g->arriving) {
      if (g->comm == nullptr) give_up(g, "another process is gone");
      nccl().check(nccl().all_reduce(pointer(g->buffer), pointer(g->buffer), 1, NCCL_FLOAT32, NCCL_MAX, g->comm, g->stream), "wait for the others");
      g->arriving = true;
    }
    *all = wait_for(milliseconds, [&] { return done(g); });
    if (*all) g->arriving = false;
  });
}

int32_t all_reduce(trtact_group* g, void* data, size_t count, int32_t type, int32_t op, int32_t memory, trtact_error* error) {
  return guarded(error, [&] {
    const bool wide = type == TRTACT_COLLECTIVE_FLOAT64;
    const size_t bytes = count * (wide ? sizeof(double) : sizeof(float));
    const bool host = memory == TRTACT_COLLECTIVE_HOST;
    g->enter();
    if (g->comm == nullptr) give_up(g, "another process is gone");
    void* at = data;
    if (host) {
      g->reserve(bytes);
      at = pointer(g->buffer);
      driver().check(driver().copy_in(g->buffer, data, bytes, g->stream), "copy to the device");
    }
    nccl().check(nccl().all_reduce(at, at, count, wide ? NCCL_FLOAT64 : NCCL_FLOAT32, op == TRTACT_COLLECTIVE_MAX ? NCCL_MAX : NCCL_SUM, g->comm, g->stream), "add up");
    finish(g);
    if (!host) return;
    driver().check(driver().copy_out(data, g->buffer, bytes, g->stream), "copy from the device");
    finish(g);
  });
}

int32_t broadcast(trtact_group* g, void* data, size_t bytes, int32_t root, trtact_error* error) {
  constexpr size_t most = size_t{64} << 20; // of the buffer
  return guarded(error, [&] {
    g->enter();
    for (size_t at = 0; at < bytes; at += most) {
      const size_t n = std::min(most, bytes - at);
      char* part = static_cast<char*>(data) + at;
      if (g->comm == nullptr) give_up(g, "another process is gone");
      g->reserve(n);
      if (g->rank == root) driver().check(driver().copy_in(g->buffer, part, n, g->stream), "copy to the device");
      nccl().check(nccl().broadcast(pointer(g->buffer), pointer(g->buffer), n, NCCL_UINT8, root, g->comm, g->stream), "send");
      finish(g);
      if (g->rank == root) continue;
      driver().check(driver().copy_out(part, g->buffer, n, g->stream), "copy from the device");
      finish(g);
    }
  });
}

void abandon(trtact_group* g) { g->abandoned = true; }

void leave(trtact_group* g, int32_t clean) {
  if (g == nullptr) return;
  g->release(clean != 0);
  delete g;
}

const trtact_collective table = {
    sizeof(trtact_collective), "nccl", 1, version, make_id, join, rank, size, arrive, all_reduce, broadcast, abandon, leave,
};

}  // namespace
}  // namespace trtact::collective

extern "C" const trtact_collective* trtact_collective_open(uint32_t abi) {
  return abi == TRTACT_COLLECTIVE_ABI ? &trtact::collective::table : nullptr;
}
