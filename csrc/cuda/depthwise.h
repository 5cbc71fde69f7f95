// Depthwise convolution, one channel in and out for each group, of square windows of 3, 5
// or 7: a matrix product, which cuDNN makes of it, has one row for each. Sums in single
// precision in a fixed order: integers stay exact, and every run gives the same bits.
#pragma once

#include "../kernels/window.h"
#include "op.h"

namespace trtact::cuda {

class Depthwise {
 public:
  static bool serves(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& y);
  // Of the convolution from x to y, two planes each.
  Depthwise(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& y);

  void forward(Lane&, const float* x, const float* w, float* y) const;
  void data(Lane&, const float* dy, const float* w, float* dx) const;
  void weights(Lane&, const float* x, const float* dy, float* dw, char* workspace) const;
  size_t workspace_bytes() const; // of weights

 private:
  int64_t images_, channels_;
  WindowAxis y_axis_, x_axis_;
};

}  // namespace trtact::cuda
