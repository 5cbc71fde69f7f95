// From an activation's number to code: calls f with the function object. Only those
// that detectors are full of get kernels of their own; the others share one that
// decides for each element, which next to memory's speed costs little.
#pragma once

#include "../kernels/any_activation.h"
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

inline void require_activation(const trtact_activation& a) {
  if (a.kind < 0 || a.kind >= TRTACT_ACT_COUNT) fail("unknown activation " + std::to_string(a.kind));
}

}  // namespace trtact::cuda
