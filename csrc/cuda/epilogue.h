// The pass over a convolution's or matrix product's result, in place:
// y = act(y * scale[c] + bias[c]), then, if asked, onto the integer grid. One pass
// instead of three, because each is bound by memory bandwidth.
#pragma once

#include "op.h"

namespace trtact::cuda {

struct Epilogue {
  const float* scale = nullptr; // per channel, or null
  const float* bias = nullptr;  // per channel, or null
  trtact_activation act{TRTACT_ACT_NONE, 0, 0};
  float quantize = 0; // > 0: the scale of the grid

  bool empty() const { return !scale && !bias && act.kind == TRTACT_ACT_NONE && quantize <= 0; }
};

// Over a tensor [n][c][space].
void finish_channels(cudaStream_t, const View& v, float* y, const Epilogue& e);
// Over rows of length n (a matrix product's result).
void finish_rows(cudaStream_t, int64_t rows, int64_t n, float* y, const Epilogue& e);

}  // namespace trtact::cuda
