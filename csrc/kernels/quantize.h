// Quantisation as TensorRT and ONNX define it: q = clamp(round_half_even(x / s)).
// The quotient is a true division: multiplying by 1/s moves values that lie on
// a rounding tie. Training adds Paddle's rounding, for comparison, and gradients.
#pragma once

#include "activation.h"

namespace trtact {

TRTACT_HD float quantize(float x, float scale, float low, float high) {
  return least(high, greatest(low, rintf(x / scale)));
}

// 2.5 becomes 3, -2.5 becomes -3.
TRTACT_HD float round_half_away(float x) {
  const float whole = truncf(x);
  return whole + (fabsf(x - whole) >= 0.5f ? copysignf(1.0f, x) : 0.0f);
}

// An integer grid: q = clamp(round(x / scale), low, high). The kind of rounding is
// a type, so that no loop decides it for every element.
template <bool kHalfAway>
struct Grid {
  static constexpr bool half_away = kHalfAway;
  float scale, low, high;
  // Where the straight-through estimator lets a gradient pass: by default what is
  // rounded into [low, high], as torch.fake_quantize has it.
  float pass_low, pass_high;

  TRTACT_HD float rounded(float x) const {
    const float v = x / scale;
    return kHalfAway ? round_half_away(v) : rintf(v);
  }
  TRTACT_HD float operator()(float x) const { return least(high, greatest(low, rounded(x))); }
  TRTACT_HD float passed(float x, float gradient) const {
    const float r = rounded(x);
    return r < pass_low ? 0.0f : r > pass_high ? 0.0f : gradient;
  }
  // d(scale * q)/d(scale), "Learned Step Size Quantization", Esser et al. 2020,
  // equation 3.
  TRTACT_HD float step_derivative(float x) const {
    const float r = rounded(x), inside = r - x / scale;
    return r < low ? low : r > high ? high : inside;
  }
};

// The scale of a tensor whose largest magnitude is known. One that is all zero
// gets the smallest normal number: a scale is never 0.
TRTACT_HD float scale_of(float absmax, float levels) {
  const float s = absmax / levels;
  return s < 1.17549435e-38f ? 1.17549435e-38f : s;
}

}  // namespace trtact
