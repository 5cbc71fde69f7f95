// Reductions whose value depends on the shape alone: every block reduces a piece of
// fixed size, one block reduces the pieces in their order. Sums are in double
// precision, as on the CPU. No atomics on floats.
#pragma once

#include "launch.h"
#include "memory.h"

namespace trtact::cuda {

struct Two {
  double a, b;
};

struct AddTwo {
  using Value = Two;
  TRTACT_HD Two zero() const { return {0, 0}; }
  TRTACT_HD Two operator()(Two x, Two y) const { return {x.a + y.a, x.b + y.b}; }
};
struct Add {
  using Value = double;
  TRTACT_HD double zero() const { return 0; }
  TRTACT_HD double operator()(double a, double b) const { return a + b; }
};
// Bit patterns of magnitudes: without their sign they are in the order of the values,
// and a NaN is above infinity.
struct MaxBits {
  using Value = int32_t;
  TRTACT_HD int32_t zero() const { return 0; }
  TRTACT_HD int32_t operator()(int32_t x, int32_t y) const { return x > y ? x : y; }
};

// Combines the values of a block's kThreads threads; all of them get the result.
template <class C>
__device__ typename C::Value block_reduce(typename C::Value v, C combine) {
  using Value = typename C::Value;
  __shared__ Value shared[kThreads];
  shared[threadIdx.x] = v;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }
  const Value all = shared[0];
  __syncthreads(); // before shared is used again
  return all;
}

// What is reduced is a struct with load(i), or load(row, i) where there are rows: element
// i's value, or where it has a term(i, loaded) too, what that computes the value from.
// term may write what else it finds. It may be opened (launch.h).
template <class F, class V, class... At>
__device__ auto term_of(int, const F& f, const V& loaded, At... at) -> decltype(f.term(at..., loaded)) {
  return f.term(at..., loaded);
}
template <class F, class V, class... At>
__device__ V term_of(long, const F&, const V& loaded, At...) { return loaded; }

// The reduction of elements first, first + kThreads and so on below end, in this order.
// Several are loaded before anything is written, as in map().
template <class C, class F, class... Row>
__device__ typename C::Value along(uint32_t first, uint32_t end, const F& of, Row... row) {
  const C combine;
  const auto& f = open(0, of, row...);
  typename C::Value v = combine.zero();
  for (; first < end; first += kThreads * kUnroll) {
    decltype(f.load(row..., first)) loaded[kUnroll];
    if (first + (kUnroll - 1) * kThreads < end) { // all of them
#pragma unroll
      for (unsigned k = 0; k < kUnroll; k++) loaded[k] = f.load(row..., first + k * kThreads);
#pragma unroll
      for (unsigned k = 0; k < kUnroll; k++) v = combine(v, term_of(0, f, loaded[k], row..., first + k * kThreads));
      continue;
    }
#pragma unroll
    for (unsigned k = 0; k < kUnroll; k++)
      if (first + k * kThreads < end) loaded[k] = f.load(row..., first + k * kThreads);
#pragma unroll
    for (unsigned k = 0; k < kUnroll; k++)
      if (first + k * kThreads < end) v = combine(v, term_of(0, f, loaded[k], row..., first + k * kThreads));
  }
  return v;
}

constexpr int64_t kPiece = 4096; // elements that one block reduces
inline int64_t pieces_of(int64_t n) { return (n + kPiece - 1) / kPiece; }
template <class C>
constexpr size_t bytes_of_pieces(int64_t n) { return aligned(static_cast<size_t>(pieces_of(n)) * sizeof(typename C::Value)); }

template <class C, class F>
__global__ void __launch_bounds__(kThreads) reduce_pieces_kernel(uint32_t n, typename C::Value* part, const __grid_constant__ F f) {
  const uint32_t first = blockIdx.x * static_cast<uint32_t>(kPiece);
  const uint32_t end = n - first < kPiece ? n : first + static_cast<uint32_t>(kPiece);
  const auto v = block_reduce(along<C>(first + threadIdx.x, end, f), C{});
  if (threadIdx.x == 0) part[blockIdx.x] = v;
}

template <class C>
struct Parts {
  const typename C::Value* part;
  TRTACT_HD typename C::Value load(uint32_t i) const { return part[i]; }
};

template <class C, class G>
__global__ void __launch_bounds__(kThreads)
    reduce_parts_kernel(uint32_t count, const __grid_constant__ Parts<C> parts, const __grid_constant__ G finish) {
  const auto v = block_reduce(along<C>(threadIdx.x, count, parts), C{});
  if (threadIdx.x == 0) finish(v);
}

// finish(the reduction of f over all i below n), on the device. part has
// bytes_of_pieces<C>(n).
template <class C, class F, class G>
void reduce_all(const Place& at, cudaStream_t stream, int64_t n, void* part, const F& f, const G& finish) {
  auto* p = static_cast<typename C::Value*>(part);
  const int64_t count = pieces_of(n);
  launch(at, reduce_pieces_kernel<C, F>, static_cast<unsigned>(count), kThreads, stream, static_cast<uint32_t>(n), p, f);
  launch(at, reduce_parts_kernel<C, G>, 1u, kThreads, stream, static_cast<uint32_t>(count),
         Parts<C>{p}, finish);
}

template <class C, class F, class G>
__global__ void __launch_bounds__(kThreads) reduce_rows_kernel(uint32_t length, const __grid_constant__ F f, const __grid_constant__ G finish) {
  const auto v = block_reduce(along<C>(threadIdx.x, length, f, blockIdx.x), C{});
  if (threadIdx.x == 0) finish(blockIdx.x, v);
}

// finish(row, the reduction of f over all i below length) for every row, one
// block each.
template <class C, class F, class G>
void reduce_rows(const Place& at, cudaStream_t stream, int64_t rows, int64_t length, const F& f, const G& finish) {
  launch(at, reduce_rows_kernel<C, F, G>, static_cast<unsigned>(rows), kThreads, stream, static_cast<uint32_t>(length),
         f, finish);
}

template <class C, class F>
__global__ void __launch_bounds__(kThreads) reduce_plane_pieces_kernel(uint32_t length, typename C::Value* part, const __grid_constant__ F f) {
  const uint32_t first = blockIdx.y * static_cast<uint32_t>(kPiece);
  const uint32_t end = length - first < kPiece ? length : first + static_cast<uint32_t>(kPiece);
  const auto v = block_reduce(along<C>(first + threadIdx.x, end, f, blockIdx.x), C{});
  if (threadIdx.x == 0) part[static_cast<size_t>(blockIdx.x) * gridDim.y + blockIdx.y] = v;
}

template <class C>
struct PlanePart {
  const typename C::Value* part;
  uint32_t count;
  TRTACT_HD typename C::Value load(uint32_t plane, uint32_t i) const {
    return part[static_cast<size_t>(plane) * count + i];
  }
};

template <class C>
size_t bytes_of_planes(int64_t planes, int64_t length) {
  const int64_t count = pieces_of(length);
  return count == 1 ? 0 : aligned(static_cast<size_t>(planes * count) * sizeof(typename C::Value));
}

// reduce_rows for few and long rows: several blocks each. part has
// bytes_of_planes<C>(planes, length).
template <class C, class F, class G>
void reduce_planes(const Place& at, cudaStream_t stream, int64_t planes, int64_t length, void* part, const F& f,
                   const G& finish) {
  const int64_t count = pieces_of(length);
  if (count == 1) return reduce_rows<C>(at, stream, planes, length, f, finish);
  auto* p = static_cast<typename C::Value*>(part);
  launch(at, reduce_plane_pieces_kernel<C, F>, dim3(static_cast<unsigned>(planes), static_cast<unsigned>(count)),
         kThreads, stream, static_cast<uint32_t>(length), p, f);
  reduce_rows<C>(at, stream, planes, count, PlanePart<C>{p, static_cast<uint32_t>(count)}, finish);
}

}  // namespace trtact::cuda
