// Terms of the distillation losses: d is student - teacher.
#pragma once

#include "host_device.h"

#include <cmath>

namespace trtact {

struct SquaredError {
  TRTACT_HD float value(float d) const { return d * d; }
  TRTACT_HD float derivative(float d) const { return 2.0f * d; }
};
struct AbsoluteError {
  TRTACT_HD float value(float d) const { return fabsf(d); }
  TRTACT_HD float derivative(float d) const { return d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : 0.0f; }
};

}  // namespace trtact
