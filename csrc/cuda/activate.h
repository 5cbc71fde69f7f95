// From a function's number to code: calls f with the function object. Only those
// that detectors are full of get kernels of their own; the others share one that
// decides for each element, which next to memory's speed costs little.
#pragma once

#include "../kernels/any_activation.h"
#include "../kernels/binary.h"
#include "op.h"

namespace trtact::cuda {

template <class F>
inline void with_activation(const trtact_activation& a, const F& f) {
  switch (a.kind) {
    case TRTACT_ACT_NONE: return f(Identity{});
    case TRTACT_ACT_RELU: return f(Relu{});
    case TRTACT_ACT_SILU: return f(Silu{});
    case TRTACT_ACT_HARD_SWISH: return f(HardSwish{});
  }
  return f(AnyActivation{a});
}

template <class F>
inline void with_binary(int32_t kind, const F& f) {
  switch (kind) {
    case TRTACT_ADD: return f(Add{});
    case TRTACT_MUL: return f(Multiply{});
  }
  return f(AnyBinary{kind});
}

inline void require_activation(const trtact_activation& a) {
  if (a.kind < 0 || a.kind >= TRTACT_ACT_COUNT) fail("unknown activation " + std::to_string(a.kind));
}

inline void require_binary(int32_t kind) {
  if (kind < 0 || kind > TRTACT_PRELU) fail("unknown binary operator " + std::to_string(kind));
}

}  // namespace trtact::cuda
