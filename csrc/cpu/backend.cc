// The CPU backend behind compute.h: the function table, devices and buffers.
#include <sys/sysinfo.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "observe.h"
#include "onednn.h"

struct trtact_device {
  int64_t unused;
};

struct trtact_op {
  std::unique_ptr<trtact::cpu::Op> op;
};

namespace trtact::cpu {
namespace {

std::atomic<int64_t> live_handles{0};

int32_t device_open(int32_t index, trtact_device** out, trtact_error* error) {
  return guarded(error, [&] {
    require(index == 0, "there is one CPU device, number 0");
    engine();
    *out = new trtact_device{};
    live_handles++;
  });
}

void device_close(trtact_device* d) {
  if (!d) return;
  delete d;
  live_handles--;
}

int32_t device_block(const trtact_device*) { return static_cast<int32_t>(kBlock); }

int32_t alloc(trtact_device*, size_t bytes, void** out, trtact_error* error) {
  return guarded(error, [&] {
    const size_t size = aligned(bytes ? bytes : 1);
    *out = std::aligned_alloc(kAlignment, size);
    if (!*out) fail("out of memory: " + std::to_string(bytes) + " bytes asked for");
    std::memset(*out, 0, size);
    live_handles++;
  });
}

void release(trtact_device*, void* p) {
  if (!p) return;
  std::free(p);
  live_handles--;
}

int32_t copy(trtact_device*, void* to, const void* from, size_t bytes, trtact_error*) {
  std::memcpy(to, from, bytes);
  return 0;
}

int32_t memory(trtact_device*, size_t* available, size_t* total, trtact_error* error) {
  return guarded(error, [&] {
    struct sysinfo info;
    if (sysinfo(&info) != 0) fail("the system does not say how much memory it has");
    *available = (info.freeram + info.bufferram) * info.mem_unit;
    *total = info.totalram * info.mem_unit;
  });
}

int32_t op_create(trtact_device*, const trtact_op_desc* raw, int32_t threads, trtact_op** out,
                  trtact_error* error) {
  return guarded(error, [&] {
    const Factory make = find_factory(raw->kind);
    if (!make) fail("the CPU backend has no operator number " + std::to_string(raw->kind));
    for (int32_t i = 0; i < raw->n_inputs; i++) check_tensor(raw->inputs[i]);
    for (int32_t i = 0; i < raw->n_outputs; i++) check_tensor(raw->outputs[i]);
    Threads scope(threads);
    auto op = std::make_unique<trtact_op>();
    op->op = make(Desc{{*raw}, threads});
    *out = op.release();
    live_handles++;
  });
}

void op_release(trtact_op* op) {
  if (!op) return;
  delete op;
  live_handles--;
}

size_t op_workspace_bytes(const trtact_op* op) { return op->op->workspace_bytes; }
const char* op_info(const trtact_op* op) { return op->op->info.c_str(); }

int32_t run(trtact_device*, const trtact_step* steps, int32_t count, int32_t threads,
            double* seconds, trtact_error* error) {
  return guarded(error, [&] {
    Threads scope(threads);
    for (int32_t i = 0; i < count; i++) {
      const auto start = std::chrono::steady_clock::now();
      const trtact_step& s = steps[i];
      s.op->op->run({s.inputs, s.outputs, static_cast<char*>(s.workspace)});
      if (seconds)
        seconds[i] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  });
}

int32_t observe_absmax(trtact_device*, const trtact_tensor* t, const float* x, float* out,
                       trtact_error* error) {
  return guarded(error, [&] { *out = absmax(*t, x); });
}
int32_t observe_histogram(trtact_device*, const trtact_tensor* t, const float* x, float upper,
                          int64_t* bins, int32_t n, trtact_error* error) {
  return guarded(error, [&] { histogram(*t, x, upper, bins, n); });
}
int32_t observe_channel_sums(trtact_device*, const trtact_tensor* t, const float* x, double* sums,
                             trtact_error* error) {
  return guarded(error, [&] { channel_sums(*t, x, sums); });
}

int64_t live() { return live_handles; }

const char* version_text() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return std::string(kBlock == 16 ? "AVX-512" : "AVX2") + ", oneDNN " + std::to_string(v->major) +
           "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }();
  return text.c_str();
}

}  // namespace
}  // namespace trtact::cpu

extern "C" const trtact_backend* trtact_backend_open(uint32_t abi) {
  using namespace trtact::cpu;
  if (abi != TRTACT_COMPUTE_ABI) return nullptr;
  static const trtact_backend table = {
      TRTACT_COMPUTE_ABI, sizeof(trtact_backend), "cpu", version_text(),
      device_open, device_close, device_block,
      alloc, release, copy, copy, copy, memory,
      op_create, op_release, op_workspace_bytes, op_info,
      run,
      observe_absmax, observe_histogram, observe_channel_sums,
      live,
  };
  return &table;
}
