// From a function's number to code: calls f with the function object, so that every
// loop is compiled once for each and vectorised.
#pragma once

#include "../kernels/any_activation.h"
#include "../kernels/binary.h"
#include "op.h"

namespace trtact::cpu {

template <class F>
inline void with_activation(const trtact_activation& a, const F& f) {
  switch (a.kind) {
#define TRTACT_CASE(kind, function) \
  case kind: return f(function);
    TRTACT_ACTIVATIONS(TRTACT_CASE, a)
#undef TRTACT_CASE
  }
  fail("unknown activation " + std::to_string(a.kind));
}

// The same for what is fused with more than a plain loop: the functions that detectors
// have in front of a quantiser have loops of their own, the others share one that
// decides for each element.
template <class F>
inline void with_common_activation(const trtact_activation& a, const F& f) {
  switch (a.kind) {
    case TRTACT_ACT_NONE: return f(Identity{});
    case TRTACT_ACT_RELU: return f(Relu{});
    case TRTACT_ACT_LEAKY_RELU: return f(LeakyRelu{a.a});
    case TRTACT_ACT_SIGMOID: return f(Sigmoid{});
    case TRTACT_ACT_HARD_SIGMOID: return f(HardSigmoid{a.a, a.b});
    case TRTACT_ACT_HARD_SWISH: return f(HardSwish{});
    case TRTACT_ACT_SILU: return f(Silu{});
    case TRTACT_ACT_CLIP: return f(Clip{a.a, a.b});
    case TRTACT_ACT_MISH: return f(Mish{});
  }
  f(AnyActivation{a});
}

inline void require_activation(const trtact_activation& a) {
  require(a.kind >= 0 && a.kind < TRTACT_ACT_COUNT, "unknown activation");
}

template <class F>
inline void with_binary(int32_t kind, const F& f) {
  switch (kind) {
#define TRTACT_CASE(kind, function) \
  case kind: return f(function);
    TRTACT_BINARIES(TRTACT_CASE)
#undef TRTACT_CASE
  }
  fail("unknown binary operator " + std::to_string(kind));
}

// y[i] = f(x[i]); padding lanes of the last channel block are set to zero.
template <class F>
inline void map_tensor(const View& v, const float* x, float* y, const F& f) {
  if (!v.padded()) {
    parallel(v.stored(), kGrain, [&](int64_t from, int64_t to) {
#pragma omp simd
      for (int64_t i = from; i < to; i++) y[i] = f(x[i]);
    });
    return;
  }
  parallel(v.n * v.blocks, 1, [&](int64_t from, int64_t to) {
    for (int64_t nb = from; nb < to; nb++) {
      const int64_t used = v.used(nb % v.blocks), size = v.space * kBlock;
      const float* xs = x + nb * size;
      float* ys = y + nb * size;
      float mask[kBlock];
      for (int64_t l = 0; l < kBlock; l++) mask[l] = l < used ? 1.0f : 0.0f;
      for (int64_t i = 0; i < size; i += kBlock) {
#pragma omp simd
        for (int64_t l = 0; l < kBlock; l++) ys[i + l] = mask[l] != 0.0f ? f(xs[i + l]) : 0.0f;
      }
    }
  });
}

}  // namespace trtact::cpu
