// The functions of CUDA's runtime, over emulated memory and fibers.
#include "runtime.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "fibers.h"
#include "memory.h"

using trtact::emulated::Access;
using Work = std::vector<std::function<void()>>;

struct CUstream_st {
  bool capturing = false;
  Work captured;
  Work late; // copies within the device's memory: as late as a GPU may make them
};
struct CUgraph_st {
  Work work;
};
struct CUgraphExec_st {
  Work work;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
  cudaStream_t stream = nullptr; // that it was recorded on
};

namespace {

// One thing at a time: kernels use global variables.
std::recursive_mutex device;
std::vector<char> shared_memory;
unsigned launches = 0;
thread_local bool captures = false;

std::vector<cudaStream_t> streams;

// Does what a stream has put off.
void catch_up(cudaStream_t s) {
  const Access access;
  for (const auto& work : s->late) work();
  s->late.clear();
}

// TRTACT_EMULATED_LAUNCHES: how many a device that is opened then lives for. From then
// on every call fails, as after a fault on a GPU.
long life = -1; // launches that are left; negative: any number
bool lost() { return life == 0; }
cudaError_t alive() { return lost() ? cudaErrorLaunchFailure : cudaSuccess; }

// TRTACT_EMULATED_MEMORY: a device's, in MiB.
size_t device_memory() {
  const char* text = getenv("TRTACT_EMULATED_MEMORY");
  return text ? static_cast<size_t>(atoll(text)) << 20 : trtact::emulated::kDeviceMemory;
}

using trtact::emulated::on_device;

// Between host and device.
cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool device_to = kind == cudaMemcpyHostToDevice, device_from = kind == cudaMemcpyDeviceToHost;
  if (lost()) return alive();
  if (on_device(to, bytes) != device_to || on_device(from, bytes) != device_from) return cudaErrorInvalidValue;
  const Access access;
  memcpy(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

namespace trtact::emulated {

cudaError_t submit(cudaStream_t stream, std::function<void()> work) {
  std::lock_guard lock(device);
  if (lost()) return alive();
  catch_up(stream);
  if (stream->capturing) {
    stream->captured.push_back(std::move(work));
    return cudaSuccess;
  }
  if (life > 0) life--;
  const Access access;
  work();
  return cudaSuccess;
}

cudaError_t launch(cudaStream_t stream, dim3 grid, dim3 block, size_t shared, std::function<void()> kernel) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu ||
      grid.y > 65535 || grid.z > 65535 || shared > 48 * 1024)
    return cudaErrorInvalidValue;
  return submit(stream, [=] {
    gridDim = grid;
    blockDim = block;
    for (uint64_t b = 0; b < uint64_t{grid.x} * grid.y * grid.z; b++) {
      blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                  static_cast<unsigned>(b / grid.x / grid.y)};
      shared_memory.assign(shared, static_cast<char>(0xff));
      if (const char* problem = run_block(kernel, (b + launches) % 2)) {
        fprintf(stderr, "emulated CUDA: %s\n", problem);
        abort();
      }
    }
    launches++;
  });
}

bool capturing() { return captures; }
void* dynamic_shared() { return shared_memory.data(); }

}  // namespace trtact::emulated

const char* cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
  }
  return "unknown error";
}
const char* cudaGetErrorName(cudaError_t e) { return e ? "cudaErrorEmulated" : "cudaSuccess"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* v) { return *v = 13000, cudaSuccess; }

// Asked first when a device is opened. TRTACT_EMULATED_DEVICES: how many there are, to
// see what happens without any.
cudaError_t cudaGetDeviceCount(int* n) {
  const char *text = getenv("TRTACT_EMULATED_LAUNCHES");
  life = text ? atol(text) : -1;
  text = getenv("TRTACT_EMULATED_DEVICES");
  *n = text ? atoi(text) : 1;
  return *n < 0 ? cudaErrorInsufficientDriver : *n == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return alive(); }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {};
  snprintf(p->name, sizeof p->name, "emulated device");
  p->totalGlobalMem = device_memory();
  const char* text = getenv("TRTACT_EMULATED_CAPABILITY"); // 75 for sm_75
  const int capability = text ? atoi(text) : 80;
  p->major = capability / 10;
  p->minor = capability % 10;
  p->multiProcessorCount = 2;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  std::lock_guard lock(device);
  *total = device_memory();
  *free = *total - std::min(*total, trtact::emulated::allocated());
  return alive();
}
cudaError_t cudaMalloc(void** p, size_t bytes) {
  std::lock_guard lock(device);
  if (lost()) return alive();
  if (captures) return cudaErrorStreamCaptureUnsupported;
  *p = trtact::emulated::allocated() + bytes <= device_memory() ? trtact::emulated::allocate(bytes) : nullptr;
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* p) {
  std::lock_guard lock(device);
  for (cudaStream_t s : streams) catch_up(s);
  if (p && !trtact::emulated::release(p)) return cudaErrorInvalidValue;
  return alive();
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
  std::lock_guard lock(device);
  if (!s->capturing && kind == cudaMemcpyDeviceToDevice) {
    if (!on_device(to, bytes) || !on_device(from, bytes)) return cudaErrorInvalidValue;
    s->late.push_back([=] { memcpy(to, from, bytes); });
    return alive();
  }
  if (!s->capturing) {
    catch_up(s);
    return copy(to, from, bytes, kind);
  }
  // A graph would read the host's memory when it runs, not now.
  if (kind != cudaMemcpyDeviceToDevice) return cudaErrorStreamCaptureUnsupported;
  s->captured.push_back([=] { memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t s) {
  if (!on_device(p, bytes)) return cudaErrorInvalidValue;
  return trtact::emulated::submit(s, [=] { memset(p, value, bytes); });
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  std::lock_guard lock(device);
  streams.push_back(*s = new CUstream_st);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  std::lock_guard lock(device);
  catch_up(s);
  streams.erase(std::find(streams.begin(), streams.end(), s));
  return delete s, cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  std::lock_guard lock(device);
  catch_up(s);
  return s->capturing ? cudaErrorStreamCaptureUnsupported : alive();
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  s->capturing = captures = true;
  s->captured.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
  s->capturing = captures = false;
  *g = new CUgraph_st{std::move(s->captured)};
  s->captured.clear();
  // TRTACT_EMULATED_CAPTURE=spoiled: as where another thread waits for the whole device.
  const char* text = getenv("TRTACT_EMULATED_CAPTURE");
  return text && strcmp(text, "spoiled") == 0 ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* e, cudaGraph_t g, unsigned long long) {
  return *e = new CUgraphExec_st{g->work}, cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
  std::lock_guard lock(device);
  if (s->capturing) return cudaErrorStreamCaptureUnsupported;
  if (lost()) return alive();
  if (life > 0) life--;
  catch_up(s);
  const Access access;
  for (const auto& work : e->work) work();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) { return delete g, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) { return delete e, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return *e = new CUevent_st, cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t e, unsigned) {
  std::lock_guard lock(device);
  if (e->stream) catch_up(e->stream);
  return alive();
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  std::lock_guard lock(device);
  e->stream = s;
  return e->time = std::chrono::steady_clock::now(), cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t a, cudaEvent_t b) {
  return *ms = std::chrono::duration<float, std::milli>(b->time - a->time).count(), cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) { return delete e, cudaSuccess; }
