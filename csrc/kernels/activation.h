// Scalar functions: activations and the elementary functions of ONNX.
//
// The exponential is our own (range reduction to [-ln2/2, ln2/2] and a degree-6
// polynomial, below 2 ulp) so that the compiler can vectorise every loop around
// it and so that CPU and GPU compute the same values.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace trtact {

// One instruction each, which gives b when either is NaN: where the value goes
// second and the limit first, a NaN stays one and is found at the output.
TRTACT_HD float least(float a, float b) { return a < b ? a : b; }
TRTACT_HD float greatest(float a, float b) { return a > b ? a : b; }

// The same with NaN when either is NaN.
TRTACT_HD float minimum(float a, float b) { return a < b || a != a ? a : b; }
TRTACT_HD float maximum(float a, float b) { return a > b || a != a ? a : b; }

// e^x for x in [-87.3, 88.37], clamped outside: no infinities, no zeros.
TRTACT_HD float exp_clamped(float x) {
  x = least(88.3762626f, greatest(-87.33654f, x));
  const float n = rintf(x * 1.44269504f);
  float r = fmaf(n, -0.693359375f, x);
  r = fmaf(n, 2.12194440e-4f, r);
  float p = 1.98756915e-4f;
  p = fmaf(p, r, 1.39819995e-3f);
  p = fmaf(p, r, 8.33345205e-3f);
  p = fmaf(p, r, 4.16657962e-2f);
  p = fmaf(p, r, 1.66666657e-1f);
  p = fmaf(p, r, 5.00000012e-1f);
  p = fmaf(p * r, r, r + 1.0f);
  const uint32_t bits = (static_cast<uint32_t>(static_cast<int32_t>(n)) + 127u) << 23;
  float two_n;
  memcpy(&two_n, &bits, sizeof two_n);
  return p * two_n;
}

TRTACT_HD float sigmoid(float x) { return 1.0f / (1.0f + exp_clamped(-x)); }

// tanh by e^2x; near zero, where that cancels, by its series.
TRTACT_HD float tanh_smooth(float x) {
  const float x2 = x * x;
  const float series =
      x * fmaf(x2, fmaf(x2, fmaf(x2, fmaf(x2, 0.0218694885f, -0.0539682540f), 0.133333333f),
                        -0.333333333f), 1.0f);
  const float far = 1.0f - 2.0f / (1.0f + exp_clamped(2.0f * x));
  return x2 < 0.09f ? series : far;
}

struct Identity {
  TRTACT_HD float operator()(float x) const { return x; }
};
struct Relu {
  TRTACT_HD float operator()(float x) const { return greatest(0.0f, x); }
};
struct LeakyRelu {
  float slope;
  TRTACT_HD float operator()(float x) const { return x < 0.0f ? x * slope : x; }
};
struct Sigmoid {
  TRTACT_HD float operator()(float x) const { return sigmoid(x); }
};
struct HardSigmoid {
  float a, b;
  TRTACT_HD float operator()(float x) const {
    return least(1.0f, greatest(0.0f, a * x + b));
  }
};
struct HardSwish {
  TRTACT_HD float operator()(float x) const {
    return x * least(1.0f, greatest(0.0f, x * (1.0f / 6.0f) + 0.5f));
  }
};
struct Silu {
  TRTACT_HD float operator()(float x) const { return x / (1.0f + exp_clamped(-x)); }
};
struct Tanh {
  TRTACT_HD float operator()(float x) const { return tanh_smooth(x); }
};
struct Clip {
  float low, high;
  TRTACT_HD float operator()(float x) const { return least(high, greatest(low, x)); }
};
// x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); beyond 20 it is x.
struct Mish {
  TRTACT_HD float operator()(float x) const {
    const float e = exp_clamped(least(20.0f, x));
    const float n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
  }
};
struct Gelu {
  TRTACT_HD float operator()(float x) const {
    return 0.5f * x * (1.0f + erff(x * 0.707106781f));
  }
};
struct GeluTanh {
  TRTACT_HD float operator()(float x) const {
    return 0.5f * x * (1.0f + tanh_smooth(0.797884561f * (x + 0.044715f * x * x * x)));
  }
};
struct Elu {
  float alpha;
  TRTACT_HD float operator()(float x) const { return x < 0.0f ? alpha * expm1f(x) : x; }
};
struct Softplus {
  TRTACT_HD float operator()(float x) const {
    return greatest(0.0f, x) + log1pf(exp_clamped(-fabsf(x)));
  }
};
struct Exp {
  TRTACT_HD float operator()(float x) const { return expf(x); }
};
struct Log {
  TRTACT_HD float operator()(float x) const { return logf(x); }
};
struct Sqrt {
  TRTACT_HD float operator()(float x) const { return sqrtf(x); }
};
struct Abs {
  TRTACT_HD float operator()(float x) const { return fabsf(x); }
};
struct Neg {
  TRTACT_HD float operator()(float x) const { return -x; }
};
struct Reciprocal {
  TRTACT_HD float operator()(float x) const { return 1.0f / x; }
};
struct Floor {
  TRTACT_HD float operator()(float x) const { return floorf(x); }
};
struct Ceil {
  TRTACT_HD float operator()(float x) const { return ceilf(x); }
};
struct Round {
  TRTACT_HD float operator()(float x) const { return rintf(x); }
};
struct Erf {
  TRTACT_HD float operator()(float x) const { return erff(x); }
};

}  // namespace trtact
