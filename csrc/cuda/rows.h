// A row-major tensor seen as [outer][length][inner]: a row runs along the middle. Short
// rows are one thread's, rows beside each other being read side by side; long ones are a
// block's.
#pragma once

#include "reduce.h"

namespace trtact::cuda {

struct RowShape {
  uint32_t outer = 1, length = 1, inner = 1;

  TRTACT_HD uint32_t rows() const { return outer * inner; }
  // Where a row begins; its elements are inner apart.
  TRTACT_HD size_t first(uint32_t row) const { return static_cast<size_t>(row / inner) * length * inner + row % inner; }
  bool of_blocks() const { return length >= kThreads && inner < 32; }
};

inline RowShape rows_along(const trtact_tensor& t, int axis) {
  RowShape s;
  for (int i = 0; i < t.rank; i++) (i < axis ? s.outer : i == axis ? s.length : s.inner) *= static_cast<uint32_t>(t.dims[i]);
  return s;
}

// The threads that have a row: one, or a block. for (i = rank; i < length; i += size).
struct OneThread {
  TRTACT_HD uint32_t rank() const { return 0; }
  TRTACT_HD uint32_t size() const { return 1; }
  template <class C>
  TRTACT_HD typename C::Value reduce(typename C::Value v, C) const { return v; }
};
struct OneBlock {
  __device__ uint32_t rank() const { return threadIdx.x; }
  __device__ uint32_t size() const { return kThreads; }
  template <class C>
  __device__ typename C::Value reduce(typename C::Value v, C combine) const { return block_reduce(v, combine); }
};

template <class F>
__global__ void __launch_bounds__(kThreads) rows_by_threads_kernel(uint32_t rows, const __grid_constant__ F f) {
  const uint32_t row = blockIdx.x * kThreads + threadIdx.x;
  if (row < rows) f(row, OneThread{});
}
template <class F>
__global__ void __launch_bounds__(kThreads) rows_by_blocks_kernel(const __grid_constant__ F f) {
  f(blockIdx.x, OneBlock{});
}

// f(row, team) for every row. What thread 0 of a team writes for a row is the row's.
template <class F>
void each_row(const Place& at, cudaStream_t stream, const RowShape& shape, const F& f) {
  if (shape.of_blocks())
    launch(at, rows_by_blocks_kernel<F>, shape.rows(), kThreads, stream, f);
  else
    launch(at, rows_by_threads_kernel<F>, blocks_for(shape.rows(), kThreads), kThreads, stream, shape.rows(), f);
}

}  // namespace trtact::cuda
