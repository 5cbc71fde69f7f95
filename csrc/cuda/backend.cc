// The CUDA backend behind compute.h: the function table, devices and buffers.
#include <atomic>
#include <mutex>

#include "observe.h"

struct trtact_device {
  trtact::cuda::Device device;
};

struct trtact_op {
  trtact::cuda::Device* device;
  std::unique_ptr<trtact::cuda::Op> op;
  uint64_t number; // no two operators of a process have the same
};

namespace trtact::cuda {
namespace {

std::atomic<int64_t> live_handles{0};
std::atomic<uint64_t> next_op{1};

// What version says until a device has been opened.
std::mutex version_mutex;
const std::string& version_text() {
  static const std::string text = [] {
    int v = 0;
    cudaRuntimeGetVersion(&v);
    return std::string("CUDA " + std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10)
#if defined(TRTACT_CUDA_EMULATED)
                           + ", emulated"
#endif
    );
  }();
  return text;
}
trtact_backend* table();

int32_t device_open(int32_t index, trtact_device** out, trtact_error* error) {
  return guarded(error, [&] {
    *out = new trtact_device{Device(index)};
    live_handles++;
    std::lock_guard lock(version_mutex);
    static const std::string full = version_text() + ", cuDNN " + cudnn().version + ", cuBLAS " + cublas().version +
                                    ", " + (*out)->device.name();
    table()->version = full.c_str();
  });
}

void device_close(trtact_device* d) {
  if (!d) return;
  trtact_error ignored;
  guarded(&ignored, [&] { d->device.enter(); });
  delete d;
  live_handles--;
}

int32_t device_block(const trtact_device*) { return 1; }

int32_t alloc(trtact_device* d, size_t bytes, void** out, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    const Device::Lease lane(d->device);
    void* p = allocate(bytes);
    const size_t size = bytes ? bytes : 1;
    if (const cudaError_t e = cudaMemsetAsync(p, 0, size, lane->stream)) {
      cudaFree(p);
      TRTACT_CUDA(e);
    }
    lane->wait();
    *out = p;
    live_handles++;
  });
}

void release(trtact_device* d, void* p) {
  if (!p) return;
  trtact_error ignored;
  guarded(&ignored, [&] {
    d->device.enter();
    cudaFree(p);
  });
  live_handles--;
}

int32_t move(trtact_device* d, void* to, const void* from, size_t bytes, cudaMemcpyKind kind, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    const Device::Lease lane(d->device);
    TRTACT_CUDA(cudaMemcpyAsync(to, from, bytes, kind, lane->stream));
    lane->wait();
  });
}
int32_t upload(trtact_device* d, void* to, const void* from, size_t bytes, trtact_error* error) {
  return move(d, to, from, bytes, cudaMemcpyHostToDevice, error);
}
int32_t download(trtact_device* d, void* to, const void* from, size_t bytes, trtact_error* error) {
  return move(d, to, from, bytes, cudaMemcpyDeviceToHost, error);
}
int32_t copy(trtact_device* d, void* to, const void* from, size_t bytes, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    d->device.copies().add(to, from, bytes);
  });
}

int32_t memory(trtact_device* d, size_t* available, size_t* total, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    TRTACT_CUDA(cudaMemGetInfo(available, total));
  });
}

// Kernels count elements in 32 bits.
void check_size(const trtact_tensor& t) {
  check_tensor(t);
  require(elements(t) < (int64_t{1} << 31), "tensor of more than 2^31 elements");
}

int32_t op_create(trtact_device* d, const trtact_op_desc* raw, int32_t, trtact_op** out, trtact_error* error) {
  return guarded(error, [&] {
    const Factory make = find_factory(raw->kind);
    if (!make) fail("the CUDA backend has no operator number " + std::to_string(raw->kind));
    for (int32_t i = 0; i < raw->n_inputs; i++) check_size(raw->inputs[i]);
    for (int32_t i = 0; i < raw->n_outputs; i++) check_size(raw->outputs[i]);
    d->device.require_math(raw->math);
    d->device.enter();
    auto op = std::make_unique<trtact_op>();
    op->device = &d->device;
    op->op = make(Desc{{*raw}, d->device});
    op->op->inputs = raw->n_inputs;
    op->op->outputs = raw->n_outputs;
    op->number = next_op++;
    *out = op.release();
    live_handles++;
  });
}

void op_release(trtact_op* op) {
  if (!op) return;
  trtact_error ignored;
  guarded(&ignored, [&] { op->device->enter(); });
  delete op;
  live_handles--;
}

size_t op_workspace_bytes(const trtact_op* op) { return op->op->workspace_bytes; }
const char* op_info(const trtact_op* op) { return op->op->info.c_str(); }

class Event {
 public:
  Event() { TRTACT_CUDA(cudaEventCreateWithFlags(&event_, cudaEventDefault)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  void record(cudaStream_t s) { TRTACT_CUDA(cudaEventRecord(event_, s)); }
  double seconds_since(const Event& before) const {
    float ms = 0;
    TRTACT_CUDA(cudaEventElapsedTime(&ms, before.event_, event_));
    return ms * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

void run_step(const trtact_step& s, Lane& lane) {
  s.op->op->run({s.inputs, s.outputs, static_cast<char*>(s.workspace), lane});
}

void run_timed(const trtact_step* steps, int32_t count, Lane& lane, double* seconds) {
  std::vector<Event> events(static_cast<size_t>(count) + 1);
  events[0].record(lane.stream);
  for (int32_t i = 0; i < count; i++) {
    run_step(steps[i], lane);
    events[i + 1].record(lane.stream);
  }
  lane.wait();
  for (int32_t i = 0; i < count; i++) seconds[i] = events[i + 1].seconds_since(events[i]);
}

Signature signature_of(const trtact_step* steps, int32_t count) {
  Signature s;
  const auto add = [&](const void* p) { s.push_back(reinterpret_cast<uintptr_t>(p)); };
  for (int32_t i = 0; i < count; i++) {
    s.push_back(steps[i].op->number);
    for (int k = 0; k < steps[i].op->op->inputs; k++) add(steps[i].inputs[k]);
    for (int k = 0; k < steps[i].op->op->outputs; k++) add(steps[i].outputs[k]);
    add(steps[i].workspace);
  }
  return s;
}

int32_t run(trtact_device* d, const trtact_step* steps, int32_t count, int32_t, double* seconds, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    const Device::Lease lane(d->device);
    if (seconds) return run_timed(steps, count, *lane, seconds);
    const auto enqueue = [&] {
      for (int32_t i = 0; i < count; i++) run_step(steps[i], *lane);
    };
    lane->dnn(); // made now: a list that is captured may be this lane's first
    lane->blas();
    if (count > 1)
      d->device.graphs().run(steps, signature_of(steps, count), lane->stream, enqueue);
    else
      enqueue();
    lane->wait();
  });
}

int32_t observe_absmax(trtact_device* d, const trtact_tensor* t, const float* x, float* out, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    check_size(*t);
    *out = absmax(*Device::Lease(d->device), *t, x);
  });
}
int32_t observe_histogram(trtact_device* d, const trtact_tensor* t, const float* x, float upper, int64_t* bins,
                          int32_t n, trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    check_size(*t);
    histogram(*Device::Lease(d->device), *t, x, upper, bins, n);
  });
}
int32_t observe_channel_sums(trtact_device* d, const trtact_tensor* t, const float* x, double* sums,
                             trtact_error* error) {
  return guarded(error, [&] {
    d->device.enter();
    check_size(*t);
    channel_sums(*Device::Lease(d->device), *t, x, sums);
  });
}

int64_t live() { return live_handles; }

trtact_backend* table() {
  static trtact_backend t = {
      TRTACT_COMPUTE_ABI, sizeof(trtact_backend), "cuda", version_text().c_str(),
      device_open, device_close, device_block,
      alloc, release, upload, download, copy, memory,
      op_create, op_release, op_workspace_bytes, op_info,
      run,
      observe_absmax, observe_histogram, observe_channel_sums,
      live,
  };
  return &t;
}

}  // namespace
}  // namespace trtact::cuda

extern "C" const trtact_backend* trtact_backend_open(uint32_t abi) {
  return abi == TRTACT_COMPUTE_ABI ? trtact::cuda::table() : nullptr;
}
