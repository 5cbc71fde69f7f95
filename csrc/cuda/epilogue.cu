#include "epilogue.h"

#include "../kernels/quantize.h"
#include "activate.h"
#include "launch.h"

namespace trtact::cuda {
namespace {

template <class F>
struct Finish {
  float* y;
  const float *scale, *bias;
  F f;
  float quantum; // 0: no grid
  uint32_t channels, space;

  struct Plane {
    float* y;
    float s, t;
    bool quantized;
    Grid<false> grid;
    F f;
    TRTACT_HD float load(uint32_t i) const { return y[i]; }
    TRTACT_HD void store(uint32_t i, float v) const {
      v = f(v * s + t);
      y[i] = quantized ? grid(v) : v;
    }
  };
  TRTACT_HD Plane opened(uint32_t p) const {
    const uint32_t c = p % channels;
    return {y + static_cast<size_t>(p) * space, scale ? scale[c] : 1.0f, bias ? bias[c] : 0.0f, quantum > 0.0f,
            Grid<false>(quantum > 0.0f ? quantum : 1.0f, -128.0f, 127.0f), f};
  }
};

template <class F>
struct FinishRows {
  float* y;
  const float *scale, *bias;
  F f;
  uint32_t n;
  TRTACT_HD float load(uint32_t i) const { return y[i]; }
  TRTACT_HD void store(uint32_t i, float v) const {
    y[i] = f(v * (scale ? scale[i % n] : 1.0f) + (bias ? bias[i % n] : 0.0f));
  }
};

}  // namespace

void finish_channels(cudaStream_t stream, const View& v, float* y, const Epilogue& e) {
  if (e.empty()) return;
  with_activation(e.act, [&](auto f) {
    TRTACT_MAP_PLANES(stream, v.n * v.c, v.space,
                      Finish<decltype(f)>{y, e.scale, e.bias, f, e.quantize, static_cast<uint32_t>(v.c),
                                          static_cast<uint32_t>(v.space)});
  });
}

void finish_rows(cudaStream_t stream, int64_t rows, int64_t n, float* y, const Epilogue& e) {
  if (e.empty()) return;
  with_activation(e.act, [&](auto f) {
    TRTACT_MAP(stream, rows * n, FinishRows<decltype(f)>{y, e.scale, e.bias, f, static_cast<uint32_t>(n)});
  });
}

}  // namespace trtact::cuda
