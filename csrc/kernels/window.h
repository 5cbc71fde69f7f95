// One dimension of a pooling window: which taps of output o lie inside the input.
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
  TRTACT_HD int32_t index(int32_t o, int32_t tap) const { return o * stride - pad + tap * dilation; }
  // The output whose tap lies on input i, or -1.
  TRTACT_HD int32_t output_of(int32_t i, int32_t tap) const {
    const int32_t at = i + pad - tap * dilation;
    return at < 0 || at % stride != 0 || at / stride >= out ? -1 : at / stride;
  }
};

}  // namespace trtact
