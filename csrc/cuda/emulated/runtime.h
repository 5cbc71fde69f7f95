// An emulated CUDA device for tests: what the sources of csrc/cuda use of CUDA's
// language and runtime, so that g++ compiles them and every kernel's logic can be
// run and compared on a machine without a GPU. It proves nothing about speed.
//
// Blocks run one after the other, the threads of a block as fibers (fibers.h) in
// rising or falling order by turns, so that a missing __syncthreads shows. Device
// memory (memory.h) is inaccessible but while a kernel or a copy runs: host code
// that follows a device pointer crashes as it would with a GPU. Fresh memory holds
// NaN, and what is written beyond an allocation ends the program with a message.
// One thing runs at a time. There are no atomics on floats on purpose: sums must not
// depend on the order of threads.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
// One block runs at a time, so what its threads share is one variable.
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);

template <class T>
inline T atomicAdd(T* p, T v) {
  static_assert(std::is_integral_v<T>, "sums of floats must not depend on the order of threads");
  const T was = *p;
  *p += v;
  return was;
}
template <class T>
inline T atomicMax(T* p, T v) {
  static_assert(std::is_integral_v<T>);
  const T was = *p;
  if (v > was) *p = v;
  return was;
}

namespace trtact::emulated {
// The 8 bytes that another thread of the warp (mask) offers at the same place.
uint64_t exchange(unsigned mask, uint64_t mine, unsigned lane);
unsigned lane();
template <class T>
T shuffle(unsigned mask, T v, unsigned from) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &v, sizeof v);
  bits = exchange(mask, bits, from < 32 ? from : lane());
  memcpy(&v, &bits, sizeof v);
  return v;
}
}  // namespace trtact::emulated

template <class T>
T __shfl_sync(unsigned mask, T v, int from) { return trtact::emulated::shuffle(mask, v, static_cast<unsigned>(from) % 32); }
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by) { return trtact::emulated::shuffle(mask, v, trtact::emulated::lane() + by); }
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int by) { return trtact::emulated::shuffle(mask, v, trtact::emulated::lane() ^ static_cast<unsigned>(by)); }

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2;
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
};

const char* cudaGetErrorString(cudaError_t);
const char* cudaGetErrorName(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaMemsetAsync(void*, int value, size_t bytes, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t);
cudaError_t cudaEventDestroy(cudaEvent_t);

namespace trtact::emulated {
// Work of a stream: done now, or kept for the graph that the stream captures.
cudaError_t submit(cudaStream_t, std::function<void()> work);
// A kernel over all threads of a grid.
cudaError_t launch(cudaStream_t, dim3 grid, dim3 block, size_t shared, std::function<void()> kernel);
// Whether this thread captures a stream: nothing may be made or allocated then.
bool capturing();
// The dynamic shared memory of the running block.
void* dynamic_shared();
}  // namespace trtact::emulated
