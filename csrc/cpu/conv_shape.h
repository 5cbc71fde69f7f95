// What forward and backward convolutions share: the window in oneDNN's terms and
// the weights as the graph holds them.
#pragma once

#include "onednn.h"

namespace trtact::cpu {

struct ConvShape {
  dnnl::memory::dims stride, dilation, begin, end;
  dnnl::memory::desc weights; // row-major, in oneDNN's order of dimensions

  // Checks that x, w and y fit the parameters.
  ConvShape(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& w,
            const trtact_tensor& y, bool transposed);
};

// How slow an implementation of oneDNN's is: 0 for its kernels, 1 for a matrix product
// for every group, 2 for reference loops, which take hundreds of times as long.
int slowness(const std::string& info, int64_t groups);

}  // namespace trtact::cpu
