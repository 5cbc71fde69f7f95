// Scalar functions: activations and the elementary functions of ONNX.
//
// The exponential is our own (range reduction to [-ln2/2, ln2/2] and a degree-6
// polynomial, below 2 ulp) so that the compiler can vectorise every loop around
// it and so that CPU and GPU compute the same values.
//
// Every function has its derivative beside it. At a kink it is PyTorch's: 0 for
// relu and abs at 0 and for clip at its limits; rounding has 0 everywhere.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace trtact {

// One instruction each, which gives b when either is NaN (on a GPU NaN): where the value
// goes second and the limit first, a NaN stays one and is found at the output.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
TRTACT_HD float least(float a, float b) {
  asm("min.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
  return a;
}
TRTACT_HD float greatest(float a, float b) {
  asm("max.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
  return a;
}
#else
TRTACT_HD float least(float a, float b) { return a < b ? a : b; }
TRTACT_HD float greatest(float a, float b) { return a > b ? a : b; }
#endif

// The same with NaN when either is NaN.
TRTACT_HD float minimum(float a, float b) { return a < b || a != a ? a : b; }
TRTACT_HD float maximum(float a, float b) { return a > b || a != a ? a : b; }

// e^x for x in [-87.3, 88.37], clamped outside: no infinities, no zeros. Above 2^23 floats
// are whole numbers, the nearest of which stands in the last bits after the addition.
TRTACT_HD float exp_clamped(float x) {
  x = least(88.3762626f, greatest(-87.33654f, x));
  const float shifted = fmaf(x, 1.44269504f, 12582912.0f), n = shifted - 12582912.0f;
  float r = fmaf(n, -0.693359375f, x);
  r = fmaf(n, 2.12194440e-4f, r);
  float p = 1.98756915e-4f;
  p = fmaf(p, r, 1.39819995e-3f);
  p = fmaf(p, r, 8.33345205e-3f);
  p = fmaf(p, r, 4.16657962e-2f);
  p = fmaf(p, r, 1.66666657e-1f);
  p = fmaf(p, r, 5.00000012e-1f);
  p = fmaf(p * r, r, r + 1.0f);
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  float two_n;
  memcpy(&two_n, &bits, sizeof two_n);
  return p * two_n;
}

// 1 / d and x / d for d from 1 to 2^126.
#if defined(__CUDACC__) || defined(TRTACT_CUDA_EMULATED)
// What a GPU's division does once it has seen that d is no other, without the test and its
// branch. Beyond 2^126 the results are 0 on a GPU, and of an infinite x NaN.
TRTACT_HD float near_inverse(float d) {
#if defined(__CUDA_ARCH__)
  asm("rcp.approx.ftz.f32 %0, %0;" : "+f"(d));
  return d;
#else
  return 1.0f / d;
#endif
}
TRTACT_HD float inverse_of(float d) {
  const float r = near_inverse(d);
  return fmaf(r, fmaf(-d, r, 1.0f), r);
}
TRTACT_HD float divided(float x, float d) {
  const float r = inverse_of(d), q = x * r;
  return fmaf(r, fmaf(-d, q, x), q);
}
#else
TRTACT_HD float inverse_of(float d) { return 1.0f / d; }
TRTACT_HD float divided(float x, float d) { return x / d; }
#endif

TRTACT_HD float sigmoid(float x) { return inverse_of(1.0f + exp_clamped(-x)); }

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
  TRTACT_HD float derivative(float) const { return 1.0f; }
};
struct Relu {
  TRTACT_HD float operator()(float x) const { return greatest(0.0f, x); }
  TRTACT_HD float derivative(float x) const { return x > 0.0f ? 1.0f : 0.0f; }
};
struct LeakyRelu {
  float slope;
  TRTACT_HD float operator()(float x) const { return x < 0.0f ? x * slope : x; }
  TRTACT_HD float derivative(float x) const { return x > 0.0f ? 1.0f : slope; }
};
struct Sigmoid {
  TRTACT_HD float operator()(float x) const { return sigmoid(x); }
  TRTACT_HD float derivative(float x) const {
    const float e = exp_clamped(-fabsf(x)), s = inverse_of(1.0f + e);
    return e * s * s;
  }
};
struct HardSigmoid {
  float a, b;
  TRTACT_HD float operator()(float x) const {
    return least(1.0f, greatest(0.0f, a * x + b));
  }
  TRTACT_HD float derivative(float x) const {
    const float y = a * x + b;
    return y > 0.0f && y < 1.0f ? a : 0.0f;
  }
};
struct HardSwish {
  TRTACT_HD float operator()(float x) const {
    return x * least(1.0f, greatest(0.0f, x * (1.0f / 6.0f) + 0.5f));
  }
  TRTACT_HD float derivative(float x) const {
    return x <= -3.0f ? 0.0f : x < 3.0f ? x * (1.0f / 3.0f) + 0.5f : 1.0f;
  }
};
struct Silu {
  TRTACT_HD float operator()(float x) const { return divided(x, 1.0f + exp_clamped(-x)); }
  TRTACT_HD float derivative(float x) const {
    const float e = exp_clamped(-x), s = inverse_of(1.0f + e);
    return s * (1.0f + x * (e * s));
  }
};
struct Tanh {
  TRTACT_HD float operator()(float x) const { return tanh_smooth(x); }
  TRTACT_HD float derivative(float x) const {
    // 1 / cosh(x)^2 without the cancellation of 1 - tanh(x)^2
    const float e = exp_clamped(-2.0f * fabsf(x)), s = 1.0f / (1.0f + e);
    return 4.0f * e * s * s;
  }
};
struct Clip {
  float low, high;
  TRTACT_HD float operator()(float x) const { return least(high, greatest(low, x)); }
  TRTACT_HD float derivative(float x) const { return x > low && x < high ? 1.0f : 0.0f; }
};
// x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); beyond 20 it is x.
struct Mish {
  TRTACT_HD float operator()(float x) const {
    const float e = exp_clamped(least(20.0f, x));
    const float n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
  }
  TRTACT_HD float derivative(float x) const {
    const float c = least(20.0f, x), e = exp_clamped(c);
    const float n = e * (e + 2.0f), w = 1.0f / (n + 2.0f);
    return n * w + c * (4.0f * e * (e + 1.0f)) * w * w;
  }
};
struct Gelu {
  TRTACT_HD float operator()(float x) const {
    return 0.5f * x * (1.0f + erff(x * 0.707106781f));
  }
  TRTACT_HD float derivative(float x) const {
    return 0.5f * (1.0f + erff(x * 0.707106781f)) + x * 0.398942280f * exp_clamped(-0.5f * x * x);
  }
};
struct GeluTanh {
  TRTACT_HD float operator()(float x) const {
    return 0.5f * x * (1.0f + tanh_smooth(0.797884561f * (x + 0.044715f * x * x * x)));
  }
  TRTACT_HD float derivative(float x) const {
    const float u = 0.797884561f * (x + 0.044715f * x * x * x);
    const float du = 0.797884561f * (1.0f + 0.134145f * x * x);
    return 0.5f * (1.0f + tanh_smooth(u)) + 0.5f * x * Tanh{}.derivative(u) * du;
  }
};
struct Elu {
  float alpha;
  TRTACT_HD float operator()(float x) const { return x < 0.0f ? alpha * expm1f(x) : x; }
  TRTACT_HD float derivative(float x) const { return x > 0.0f ? 1.0f : alpha * expf(x); }
};
struct Softplus {
  TRTACT_HD float operator()(float x) const {
    return greatest(0.0f, x) + log1pf(exp_clamped(-fabsf(x)));
  }
  TRTACT_HD float derivative(float x) const { return sigmoid(x); }
};
struct Exp {
  TRTACT_HD float operator()(float x) const { return expf(x); }
  TRTACT_HD float derivative(float x) const { return expf(x); }
};
struct Log {
  TRTACT_HD float operator()(float x) const { return logf(x); }
  TRTACT_HD float derivative(float x) const { return 1.0f / x; }
};
struct Sqrt {
  TRTACT_HD float operator()(float x) const { return sqrtf(x); }
  TRTACT_HD float derivative(float x) const { return 0.5f / sqrtf(x); }
};
struct Abs {
  TRTACT_HD float operator()(float x) const { return fabsf(x); }
  TRTACT_HD float derivative(float x) const { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f; }
};
struct Neg {
  TRTACT_HD float operator()(float x) const { return -x; }
  TRTACT_HD float derivative(float) const { return -1.0f; }
};
struct Reciprocal {
  TRTACT_HD float operator()(float x) const { return 1.0f / x; }
  TRTACT_HD float derivative(float x) const { return -1.0f / (x * x); }
};
struct Floor {
  TRTACT_HD float operator()(float x) const { return floorf(x); }
  TRTACT_HD float derivative(float) const { return 0.0f; }
};
struct Ceil {
  TRTACT_HD float operator()(float x) const { return ceilf(x); }
  TRTACT_HD float derivative(float) const { return 0.0f; }
};
struct Round {
  TRTACT_HD float operator()(float x) const { return rintf(x); }
  TRTACT_HD float derivative(float) const { return 0.0f; }
};
struct Erf {
  TRTACT_HD float operator()(float x) const { return erff(x); }
  TRTACT_HD float derivative(float x) const { return 1.12837917f * exp_clamped(-x * x); }
};

}  // namespace trtact
