// Quantisation as TensorRT and ONNX define it: q = clamp(round_half_even(x / s)).
// The quotient is a true division: multiplying by 1/s moves values that lie on
// a rounding tie.
#pragma once

#include "activation.h"

namespace trtact {

TRTACT_HD float quantize(float x, float scale, float low, float high) {
  return least(high, greatest(low, rintf(x / scale)));
}

}  // namespace trtact
