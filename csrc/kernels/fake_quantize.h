// What fake quantisation passes back, and how observed scales move.
#pragma once

#include "quantize.h"

namespace trtact {

TRTACT_HD float clip_to(float clip, float a) { return least(clip, greatest(-clip, a)); }

// From the gradient g of a grid's result to that of the activation's result a, and a's
// term in the sum that is the gradient of the scale or of the clip value.
struct QuantizedGradient {
  float da, sum;
};

template <class Grid>
TRTACT_HD QuantizedGradient straight_through(const Grid& grid, float a, float g) {
  return {grid.passed(a, g), 0.0f};
}
// LSQ: the sum is the scale's gradient.
template <class Grid>
TRTACT_HD QuantizedGradient learned_step(const Grid& grid, float a, float g) {
  return {grid.passed(a, g), g * grid.step_derivative(a)};
}
// PACT: what lies beyond the clip value moves that instead; the sum is its gradient.
template <class Grid>
TRTACT_HD QuantizedGradient learned_clip(const Grid& grid, float clip, float a, float g) {
  const float passed = grid.passed(clip_to(clip, a), g);
  const float inside = fabsf(a) > clip ? 0.0f : passed;
  return {inside, copysignf(1.0f, a) * (passed - inside)};
}

}  // namespace trtact
