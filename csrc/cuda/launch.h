// Launching kernels. TRTACT_LAUNCH stands where <<<>>> would, so that the emulation
// can take its place, and checks every launch.
//
//   TRTACT_LAUNCH(kernel, blocks, threads, stream, arguments...)
//
// A kernel with several template arguments goes in parentheses. What works element by
// element needs no kernel of its own: each() and map().
#pragma once

#include <cstdint>

#include "../kernels/host_device.h"
#include "error.h"

namespace trtact::cuda {

struct Place {
  const char *file, *kernel;
  int line;
};

template <class... P, class... A>
void launch(const Place& at, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, const A&... args) {
#if defined(TRTACT_CUDA_EMULATED)
  const cudaError_t e = emulated::launch(stream, grid, block, 0, [=] { kernel(args...); });
#else
  kernel<<<grid, block, 0, stream>>>(args...);
  const cudaError_t e = cudaGetLastError();
#endif
  if (e != cudaSuccess) fail_at(at.file, at.line, std::string("kernel ") + at.kernel, e);
}

#define TRTACT_PLACE(kernel) (::trtact::cuda::Place{__FILE__, #kernel, __LINE__})
#define TRTACT_LAUNCH(kernel, ...) ::trtact::cuda::launch(TRTACT_PLACE(kernel), kernel, __VA_ARGS__)

// Functors are __grid_constant__: what has an array in it would be copied to every thread's
// own memory otherwise.

constexpr unsigned kThreads = 256; // of a block, where nothing speaks for another number
constexpr unsigned kUnroll = 4;    // elements of one thread, loaded before any is stored

inline unsigned blocks_for(int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); }

// What is asked of functors: f, or what f.opened() makes of it where it has that, once for
// each thread (for each row with its number): all that elements share and only the device
// knows, a scale for instance.
template <class F, class... Row>
__device__ auto open(int, const F& f, Row... row) -> decltype(f.opened(row...)) {
  return f.opened(row...);
}
template <class F, class... Row>
__device__ const F& open(long, const F& f, Row...) {
  return f;
}

template <class F>
__global__ void __launch_bounds__(kThreads) each_kernel(uint32_t n, const __grid_constant__ F f) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < n) f(i);
}

// The last block has what is left: all others need not ask for every element.
template <class F>
__global__ void __launch_bounds__(kThreads) map_kernel(uint32_t n, const __grid_constant__ F all) {
  const auto& f = open(0, all);
  const uint32_t first = blockIdx.x * (kThreads * kUnroll) + threadIdx.x;
  if (first + (kUnroll - 1) * kThreads < n) {
    decltype(f.load(0u)) v[kUnroll];
#pragma unroll
    for (unsigned k = 0; k < kUnroll; k++) v[k] = f.load(first + k * kThreads);
#pragma unroll
    for (unsigned k = 0; k < kUnroll; k++) f.store(first + k * kThreads, v[k]);
    return;
  }
#pragma unroll 1
  for (uint32_t i = first; i < n; i += kThreads) f.store(i, f.load(i));
}

template <class F>
__global__ void __launch_bounds__(kThreads) map_planes_kernel(uint32_t space, const __grid_constant__ F all) {
  const auto f = all.opened(blockIdx.x);
  const uint32_t first = blockIdx.y * (kThreads * kUnroll) + threadIdx.x;
  decltype(f.load(0u)) v[kUnroll];
#pragma unroll
  for (unsigned k = 0; k < kUnroll; k++)
    if (first + k * kThreads < space) v[k] = f.load(first + k * kThreads);
#pragma unroll
  for (unsigned k = 0; k < kUnroll; k++)
    if (first + k * kThreads < space) f.store(first + k * kThreads, v[k]);
}

// f(i) for every i below n, in no order. f is a struct of plain values whose operator()
// is TRTACT_HD (nvcc knows no lambdas inside generic lambdas).
template <class F>
void each(const Place& at, cudaStream_t stream, int64_t n, const F& f) {
  if (n == 0) return;
  launch(at, each_kernel<F>, blocks_for(n, kThreads), kThreads, stream, static_cast<uint32_t>(n), f);
}

// f.store(i, f.load(i)) for every i below n: what is bound by memory keeps several
// loads in flight, which a compiler may not arrange itself where input and output
// may be one tensor.
template <class F>
void map(const Place& at, cudaStream_t stream, int64_t n, const F& f) {
  if (n == 0) return;
  launch(at, map_kernel<F>, blocks_for(n, int64_t{kThreads} * kUnroll), kThreads, stream, static_cast<uint32_t>(n), f);
}

// The same for every place of every plane, where f.opened(p) has what a plane's
// elements share: a division for each element is saved.
template <class F>
void map_planes(const Place& at, cudaStream_t stream, int64_t planes, int64_t space, const F& f) {
  const dim3 grid(static_cast<unsigned>(planes), blocks_for(space, int64_t{kThreads} * kUnroll));
  launch(at, map_planes_kernel<F>, grid, kThreads, stream, static_cast<uint32_t>(space), f);
}

#define TRTACT_EACH(...) ::trtact::cuda::each(TRTACT_PLACE(each), __VA_ARGS__)
#define TRTACT_MAP(...) ::trtact::cuda::map(TRTACT_PLACE(map), __VA_ARGS__)
#define TRTACT_MAP_PLANES(...) ::trtact::cuda::map_planes(TRTACT_PLACE(map_planes), __VA_ARGS__)

}  // namespace trtact::cuda
