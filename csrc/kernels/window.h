// One dimension of a window: which taps of an output lie inside the input, and which
// outputs have a tap inside.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace trtact {

struct WindowAxis {
  int32_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad = 0;

  // The taps inside: [first, last).
  TRTACT_HD int32_t first(int32_t o) const {
    const int32_t before = pad - o * stride;
    return before > 0 ? (before + dilation - 1) / dilation : 0;
  }
  TRTACT_HD int32_t last(int32_t o) const {
    const int32_t room = in - 1 + pad - o * stride;
    const int32_t taps = room < 0 ? 0 : room / dilation + 1;
    return taps < kernel ? taps : kernel;
  }
  // The outputs whose tap lies inside: [first, last).
  TRTACT_HD int32_t first_output(int32_t tap) const {
    const int32_t at = pad - tap * dilation;
    return at > 0 ? (at + stride - 1) / stride : 0;
  }
  TRTACT_HD int32_t last_output(int32_t tap) const {
    const int32_t room = in - 1 + pad - tap * dilation;
    const int32_t count = room < 0 ? 0 : room / stride + 1;
    return count < out ? count : out;
  }
  TRTACT_HD int32_t index(int32_t o, int32_t tap) const { return o * stride - pad + tap * dilation; }
  // The output whose tap lies on input i, or -1.
  TRTACT_HD int32_t output_of(int32_t i, int32_t tap) const {
    const int32_t at = i + pad - tap * dilation;
    return at < 0 || at % stride != 0 || at / stride >= out ? -1 : at / stride;
  }
};

// Axis i of the window p (of a pooling or a convolution), which makes y of x.
template <class Params, class Tensor>
WindowAxis window_axis(const Params& p, const Tensor& x, const Tensor& y, int i) {
  const auto i32 = [](int64_t v) { return static_cast<int32_t>(v); };
  return {i32(x.dims[2 + i]), i32(y.dims[2 + i]), i32(p.kernel[i]), i32(p.stride[i]), i32(p.dilation[i]), i32(p.pad_begin[i])};
}

}  // namespace trtact
