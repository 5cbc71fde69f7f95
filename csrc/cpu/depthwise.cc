#include "depthwise.h"

#include <algorithm>

namespace trtact::cpu {

DepthwiseWeights::DepthwiseWeights(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& dy)
    : n_(x.dims[0]), channels_(x.dims[1]), blocks_((x.dims[1] + kBlock - 1) / kBlock) {
  for (int i = 0; i < p.spatial; i++) axis_[3 - p.spatial + i] = window_axis(p, x, dy, i);
}

void DepthwiseWeights::run(const float* x, const float* dy, float* dw, float* dbias) const {
  const int64_t taps = axis_[0].kernel * axis_[1].kernel * axis_[2].kernel;
  parallel(blocks_ * taps, 1, [&](int64_t from, int64_t to) {
    for (int64_t job = from; job < to; job++) tap(x, dy, job / taps, job % taps, dw);
  });
  if (dbias)
    parallel(blocks_, 1, [&](int64_t from, int64_t to) {
      for (int64_t b = from; b < to; b++) bias(dy, b, dbias);
    });
}

void DepthwiseWeights::tap(const float* x, const float* dy, int64_t block, int64_t k, float* dw) const {
  const WindowAxis &az = axis_[0], &ay = axis_[1], &ax = axis_[2];
  const int64_t taps = az.kernel * ay.kernel * ax.kernel;
  const int64_t kz = k / (ay.kernel * ax.kernel), ky = k / ax.kernel % ay.kernel, kx = k % ax.kernel;
  const int64_t left = ax.first_output(kx), right = ax.last_output(kx);
  double sum[kBlock] = {};
  for (int64_t n = 0; n < n_; n++) {
    const float* xs = x + (n * blocks_ + block) * az.in * ay.in * ax.in * kBlock;
    const float* ds = dy + (n * blocks_ + block) * az.out * ay.out * ax.out * kBlock;
    for (int64_t z = az.first_output(kz); z < az.last_output(kz); z++)
      for (int64_t y = ay.first_output(ky); y < ay.last_output(ky); y++) {
        const float* xr = xs + (int64_t{az.index(z, kz)} * ay.in + ay.index(y, ky)) * ax.in * kBlock;
        const float* dr = ds + (z * ay.out + y) * ax.out * kBlock;
        float row[kBlock] = {}; // one row in single precision, rows in double
        for (int64_t o = left; o < right; o++) {
          const float *a = xr + ax.index(o, kx) * kBlock, *b = dr + o * kBlock;
#pragma omp simd
          for (int64_t l = 0; l < kBlock; l++) row[l] += a[l] * b[l];
        }
        for (int64_t l = 0; l < kBlock; l++) sum[l] += row[l];
      }
  }
  for (int64_t l = 0; l < kBlock && block * kBlock + l < channels_; l++)
    dw[(block * kBlock + l) * taps + k] = static_cast<float>(sum[l]);
}

void DepthwiseWeights::bias(const float* dy, int64_t block, float* dbias) const {
  const int64_t space = axis_[0].out * axis_[1].out * axis_[2].out;
  double sum[kBlock] = {};
  for (int64_t n = 0; n < n_; n++) {
    const float* ds = dy + (n * blocks_ + block) * space * kBlock;
    for (int64_t s = 0; s < space; s++)
      for (int64_t l = 0; l < kBlock; l++) sum[l] += ds[s * kBlock + l];
  }
  for (int64_t l = 0; l < kBlock && block * kBlock + l < channels_; l++)
    dbias[block * kBlock + l] = static_cast<float>(sum[l]);
}

}  // namespace trtact::cpu
