#include "depthwise.h"

#include "reduce.h"

namespace trtact::cuda {
namespace {

struct Axes {
  WindowAxis y, x;
  TRTACT_HD uint32_t in() const { return static_cast<uint32_t>(y.in * x.in); }
  TRTACT_HD uint32_t out() const { return static_cast<uint32_t>(y.out * x.out); }
};

TRTACT_HD bool inside(int32_t i, int32_t size) { return i >= 0 && i < size; }

// What is made plane by plane: y, dx, or dx of a convolution that takes every position, in
// which nothing is divided by the stride.
enum Made { kY, kDx, kDxOfAll };

// Where the tap of element i of what is made lies, if it is inside.
template <Made kMade>
TRTACT_HD int32_t tap_of(const WindowAxis& axis, int32_t i, int32_t tap) {
  return kMade == kY ? axis.index(i, tap) : kMade == kDx ? axis.output_of(i, tap) : i + axis.pad - tap * axis.dilation;
}

// What the elements of one plane share.
template <int K, Made kMade>
struct Plane {
  const float* from;
  float* to;
  Axes axes;
  float w[K * K];

  __device__ float load(uint32_t i) const {
    constexpr bool kData = kMade != kY;
    const int32_t width = kData ? axes.x.in : axes.x.out, from_width = kData ? axes.x.out : axes.x.in;
    const int32_t y = static_cast<int32_t>(i) / width, x = static_cast<int32_t>(i) % width;
    float sum = 0.0f;
#pragma unroll
    for (int32_t ky = 0; ky < K; ky++) {
      const int32_t row = tap_of<kMade>(axes.y, y, ky);
      if (!inside(row, kData ? axes.y.out : axes.y.in)) continue;
#pragma unroll
      for (int32_t kx = 0; kx < K; kx++) {
        const int32_t column = tap_of<kMade>(axes.x, x, kx);
        if (inside(column, from_width)) sum += from[row * from_width + column] * w[ky * K + kx];
      }
    }
    return sum;
  }
  __device__ void store(uint32_t i, float v) const { to[i] = v; }
};

template <int K, Made kMade>
struct Planes {
  const float *from, *w;
  float* to;
  Axes axes;
  uint32_t channels;

  __device__ Plane<K, kMade> opened(uint32_t p) const {
    constexpr bool kData = kMade != kY;
    const uint32_t in = axes.in(), out = axes.out();
    Plane<K, kMade> one{from + static_cast<size_t>(p) * (kData ? out : in), to + static_cast<size_t>(p) * (kData ? in : out), axes, {}};
    const float* taps = w + p % channels * (K * K);
#pragma unroll
    for (int k = 0; k < K * K; k++) one.w[k] = taps[k];
    return one;
  }
};

constexpr int64_t kRun = 16384; // elements of dy whose part of a channel's gradient one block makes
int64_t runs_of(int64_t length) { return (length + kRun - 1) / kRun; }

// A thread adds up its elements' parts of every tap, and the block those of its threads.
template <int K>
__global__ void __launch_bounds__(kThreads)
    depthwise_weights_kernel(const float* x, const float* dy, uint32_t length, uint32_t channels, Axes axes, double* part) {
  const uint32_t in = axes.in(), out = axes.out(), channel = blockIdx.x;
  const uint32_t first = blockIdx.y * static_cast<uint32_t>(kRun);
  const uint32_t end = length - first < kRun ? length : first + static_cast<uint32_t>(kRun);
  float sums[K * K] = {};
  for (uint32_t i = first + threadIdx.x; i < end; i += kThreads) {
    const uint32_t image = i / out, o = i - image * out;
    const size_t plane = static_cast<size_t>(image) * channels + channel;
    const float d = dy[plane * out + o];
    const int32_t oy = static_cast<int32_t>(o) / axes.x.out, ox = static_cast<int32_t>(o) % axes.x.out;
#pragma unroll
    for (int32_t ky = 0; ky < K; ky++) {
      const int32_t row = axes.y.index(oy, ky);
      if (!inside(row, axes.y.in)) continue;
#pragma unroll
      for (int32_t kx = 0; kx < K; kx++) {
        const int32_t column = axes.x.index(ox, kx);
        if (inside(column, axes.x.in)) sums[ky * K + kx] += d * x[plane * in + static_cast<uint32_t>(row * axes.x.in + column)];
      }
    }
  }
#pragma unroll
  for (int k = 0; k < K * K; k++) {
    const double sum = block_reduce(static_cast<double>(sums[k]), Add{});
    if (threadIdx.x == 0) part[(static_cast<size_t>(channel) * (K * K) + k) * gridDim.y + blockIdx.y] = sum;
  }
}

struct StoreTap {
  float* dw;
  TRTACT_HD void operator()(uint32_t i, double sum) const { dw[i] = static_cast<float>(sum); }
};

template <int K, Made kMade>
void planes(Lane& lane, int64_t images, int64_t channels, const Axes& axes, const float* from, const float* w, float* to) {
  TRTACT_MAP_PLANES(lane.stream, images * channels, kMade == kY ? axes.out() : axes.in(),
                    Planes<K, kMade>{from, w, to, axes, static_cast<uint32_t>(channels)});
}

template <Made kMade>
void planes_of(int32_t kernel, Lane& lane, int64_t images, int64_t channels, const Axes& axes, const float* from, const float* w,
               float* to) {
  const auto run = kernel == 3 ? planes<3, kMade> : kernel == 5 ? planes<5, kMade> : planes<7, kMade>;
  run(lane, images, channels, axes, from, w, to);
}

template <int K>
void all_weights(Lane& lane, int64_t images, int64_t channels, const Axes& axes, const float* x, const float* dy, float* dw,
                 double* part) {
  const int64_t length = images * axes.out(), runs = runs_of(length);
  TRTACT_LAUNCH(depthwise_weights_kernel<K>, dim3(static_cast<unsigned>(channels), static_cast<unsigned>(runs)), kThreads,
                lane.stream, x, dy, static_cast<uint32_t>(length), static_cast<uint32_t>(channels), axes, part);
  reduce_rows<Add>(TRTACT_PLACE(depthwise_taps), lane.stream, channels * K * K, runs,
                   PlanePart<Add>{part, static_cast<uint32_t>(runs)}, StoreTap{dw});
}

}  // namespace

bool Depthwise::serves(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& y) {
  const int64_t k = p.kernel[0];
  return p.spatial == 2 && p.groups == x.dims[1] && p.groups == y.dims[1] && p.kernel[1] == k && (k == 3 || k == 5 || k == 7);
}

Depthwise::Depthwise(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& y)
    : images_(x.dims[0]), channels_(x.dims[1]), y_axis_(window_axis(p, x, y, 0)), x_axis_(window_axis(p, x, y, 1)) {}

void Depthwise::forward(Lane& lane, const float* x, const float* w, float* y) const {
  planes_of<kY>(y_axis_.kernel, lane, images_, channels_, {y_axis_, x_axis_}, x, w, y);
}

void Depthwise::data(Lane& lane, const float* dy, const float* w, float* dx) const {
  const auto run = y_axis_.stride == 1 && x_axis_.stride == 1 ? planes_of<kDxOfAll> : planes_of<kDx>;
  run(y_axis_.kernel, lane, images_, channels_, {y_axis_, x_axis_}, dy, w, dx);
}

void Depthwise::weights(Lane& lane, const float* x, const float* dy, float* dw, char* workspace) const {
  const auto run = y_axis_.kernel == 3 ? all_weights<3> : y_axis_.kernel == 5 ? all_weights<5> : all_weights<7>;
  run(lane, images_, channels_, {y_axis_, x_axis_}, x, dy, dw, reinterpret_cast<double*>(workspace));
}

size_t Depthwise::workspace_bytes() const {
  const int64_t taps = int64_t{y_axis_.kernel} * x_axis_.kernel;
  return aligned(static_cast<size_t>(channels_ * taps * runs_of(images_ * y_axis_.out * x_axis_.out)) * sizeof(double));
}

}  // namespace trtact::cuda
