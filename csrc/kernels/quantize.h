// Quantisation as TensorRT and ONNX define it: q = clamp(round_half_even(x / s)).
// The quotient is that of a true division: multiplying by 1/s moves values that lie on
// a rounding tie. Training adds Paddle's rounding, for comparison, and gradients.
#pragma once

#include "activation.h"

namespace trtact {

// x / scale of many x by one scale.
#if defined(__CUDACC__) || defined(TRTACT_CUDA_EMULATED)
// A GPU's division takes twice the instructions of this: the product with the reciprocal,
// corrected by its remainder, is rounded as a division is (Markstein, "Computation of
// elementary functions on the IBM RISC System/6000 processor", 1990). A product beyond 1e30
// is left as it is; below scales of 2^-100 that are no powers of two the remainder is not
// exact, nor is the last bit.
struct Quotient {
  float scale, inverse;
  explicit TRTACT_HD Quotient(float s) : scale(s), inverse(1.0f / s) {}

  TRTACT_HD float operator()(float x) const {
    const float q = x * inverse;
    return fabsf(q) < 1e30f ? fmaf(fmaf(-q, scale, x), inverse, q) : q;
  }
};
#else
struct Quotient {
  float scale;
  explicit TRTACT_HD Quotient(float s) : scale(s) {}
  TRTACT_HD float operator()(float x) const { return x / scale; }
};
#endif

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
  Quotient quotient;
  float low, high;
  // Where the straight-through estimator lets a gradient pass: by default what is
  // rounded into [low, high], as torch.fake_quantize has it.
  float pass_low, pass_high;

  TRTACT_HD Grid(float scale, float l, float h, float pass_l, float pass_h)
      : quotient(scale), low(l), high(h), pass_low(pass_l), pass_high(pass_h) {}
  TRTACT_HD Grid(float scale, float l, float h) : Grid(scale, l, h, l, h) {}

  TRTACT_HD float rounded(float x) const {
    const float v = quotient(x);
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
    const float r = rounded(x), inside = r - quotient(x);
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
