// The weight gradient of a depthwise convolution, for the windows that oneDNN has
// no fast code for (5x5 with stride 2, dilated ones). x and dy are blocked.
// Bound by the loads of x and dy from the second-level cache, once for each tap.
#pragma once

#include "../kernels/window.h"
#include "op.h"

namespace trtact::cpu {

class DepthwiseWeights {
 public:
  // Whether it serves: one channel in and out for each group.
  static bool serves(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& dy) {
    return p.groups == x.dims[1] && p.groups == dy.dims[1];
  }
  DepthwiseWeights() = default;
  DepthwiseWeights(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& dy);
  // dw [C][1][k...]; dbias [C] may be null.
  void run(const float* x, const float* dy, float* dw, float* dbias) const;

 private:
  void tap(const float* x, const float* dy, int64_t block, int64_t k, float* dw) const;
  void bias(const float* dy, int64_t block, float* dbias) const;

  int64_t n_ = 0, channels_ = 0, blocks_ = 0;
  WindowAxis axis_[3];
};

}  // namespace trtact::cpu
