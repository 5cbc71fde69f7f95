// Observers. The only operators that wait for the device: their answer goes to the
// host. Bound by one read of the tensor.
#include "observe.h"

#include "../kernels/histogram.h"
#include "reduce.h"

namespace trtact::cuda {
namespace {

struct Magnitude {
  const float* x;
  TRTACT_HD int32_t load(uint32_t i) const { return magnitude_bits(x[i]); }
};
struct StoreBits {
  int32_t* out;
  TRTACT_HD void operator()(int32_t bits) const { *out = bits; }
};

// Bins that are counted in a block's own memory first: most values fall into few bins.
constexpr int kSharedBins = 4096;

__global__ void __launch_bounds__(kThreads)
    histogram_kernel(uint32_t n, const float* x, float per_unit, float last, uint32_t bins, uint32_t* count) {
  __shared__ uint32_t own[kSharedBins];
  const bool small = bins <= kSharedBins;
  if (small) {
    for (uint32_t b = threadIdx.x; b < bins; b += kThreads) own[b] = 0;
    __syncthreads();
  }
  uint32_t* to = small ? own : count;
  for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < n; i += gridDim.x * kThreads)
    atomicAdd(to + histogram_bin(x[i], per_unit, last), 1u);
  if (!small) return;
  __syncthreads();
  for (uint32_t b = threadIdx.x; b < bins; b += kThreads)
    if (own[b]) atomicAdd(count + b, own[b]);
}

struct PlaneValue {
  const float* x;
  uint32_t space;
  TRTACT_HD float load(uint32_t plane, uint32_t i) const { return x[static_cast<size_t>(plane) * space + i]; }
};
struct StorePlane {
  double* out;
  TRTACT_HD void operator()(uint32_t plane, double sum) const { out[plane] = sum; }
};

template <class T>
std::vector<T> fetch(Lane& lane, const void* from, int64_t count) {
  std::vector<T> host(static_cast<size_t>(count));
  TRTACT_CUDA(cudaMemcpyAsync(host.data(), from, host.size() * sizeof(T), cudaMemcpyDeviceToHost, lane.stream));
  lane.wait();
  return host;
}

}  // namespace

float absmax(Lane& lane, const trtact_tensor& t, const float* x) {
  const int64_t n = elements(t);
  char* scratch = static_cast<char*>(lane.scratch(bytes_of_pieces<MaxBits>(n) + kAlignment));
  int32_t* out = reinterpret_cast<int32_t*>(scratch + bytes_of_pieces<MaxBits>(n));
  reduce_all<MaxBits>(TRTACT_PLACE(absmax), lane.stream, n, scratch, Magnitude{x}, StoreBits{out});
  return of_bits(fetch<int32_t>(lane, out, 1)[0]);
}

void histogram(Lane& lane, const trtact_tensor& t, const float* x, float upper, int64_t* bins, int n) {
  require(n > 0 && upper > 0, "histogram: needs bins and a positive range");
  const int64_t size = elements(t);
  const size_t bytes = static_cast<size_t>(n) * sizeof(uint32_t);
  uint32_t* count = static_cast<uint32_t*>(lane.scratch(bytes));
  TRTACT_CUDA(cudaMemsetAsync(count, 0, bytes, lane.stream));
  constexpr int64_t kMostBlocks = 1024; // each adds its own bins to the whole
  const unsigned blocks = static_cast<unsigned>(std::min(kMostBlocks, pieces_of(size)));
  TRTACT_LAUNCH(histogram_kernel, blocks, kThreads, lane.stream, static_cast<uint32_t>(size), x,
                static_cast<float>(n) / upper, static_cast<float>(n - 1), static_cast<uint32_t>(n), count);
  const auto found = fetch<uint32_t>(lane, count, n);
  for (int i = 0; i < n; i++) bins[i] += found[i];
}

void channel_sums(Lane& lane, const trtact_tensor& t, const float* x, double* sums) {
  const View v(t);
  const size_t parts = bytes_of_planes<Add>(v.n * v.c, v.space);
  char* scratch = static_cast<char*>(lane.scratch(parts + static_cast<size_t>(v.n * v.c) * sizeof(double)));
  double* planes = reinterpret_cast<double*>(scratch + parts);
  reduce_planes<Add>(TRTACT_PLACE(channel_sums), lane.stream, v.n * v.c, v.space, scratch,
                      PlaneValue{x, static_cast<uint32_t>(v.space)}, StorePlane{planes});
  const auto found = fetch<double>(lane, planes, v.n * v.c);
  for (int64_t i = 0; i < v.n * v.c; i++) sums[i % v.c] += found[i];
}

}  // namespace trtact::cuda
