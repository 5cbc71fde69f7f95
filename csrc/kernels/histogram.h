// The bin of a histogram over magnitudes: equal bins over [0, upper], with
// per_unit = bins / upper and last = bins - 1. What is above, and NaN, goes to the last.
#pragma once

#include "activation.h"

namespace trtact {

TRTACT_HD int32_t histogram_bin(float x, float per_unit, float last) {
  return static_cast<int32_t>(least(fabsf(x) * per_unit, last));
}

// A float without its sign, as an integer: these are in the order of the values, and
// a NaN is above infinity, so an integer maximum lets none get lost.
TRTACT_HD int32_t magnitude_bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffff;
}
TRTACT_HD float of_bits(int32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

}  // namespace trtact
