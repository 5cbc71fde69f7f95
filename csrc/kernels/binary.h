// Derivatives of the two-operand functions: by the left operand and by the
// right one. Where two operands are equal, the greater and the smaller of them
// share the gradient in halves, as in PyTorch.
#pragma once

#include "activation.h"

namespace trtact {

struct AddDerivative {
  TRTACT_HD float left(float, float) const { return 1.0f; }
  TRTACT_HD float right(float, float) const { return 1.0f; }
};
struct SubDerivative {
  TRTACT_HD float left(float, float) const { return 1.0f; }
  TRTACT_HD float right(float, float) const { return -1.0f; }
};
struct MulDerivative {
  TRTACT_HD float left(float, float b) const { return b; }
  TRTACT_HD float right(float a, float) const { return a; }
};
struct DivDerivative {
  TRTACT_HD float left(float, float b) const { return 1.0f / b; }
  TRTACT_HD float right(float a, float b) const { return -(a / b) / b; }
};
struct PowDerivative {
  TRTACT_HD float left(float a, float b) const { return b == 0.0f ? 0.0f : b * powf(a, b - 1.0f); }
  TRTACT_HD float right(float a, float b) const {
    return a == 0.0f && b >= 0.0f ? 0.0f : powf(a, b) * logf(a);
  }
};
struct MinDerivative {
  TRTACT_HD float left(float a, float b) const { return a < b ? 1.0f : a == b ? 0.5f : 0.0f; }
  TRTACT_HD float right(float a, float b) const { return left(b, a); }
};
struct MaxDerivative {
  TRTACT_HD float left(float a, float b) const { return a > b ? 1.0f : a == b ? 0.5f : 0.0f; }
  TRTACT_HD float right(float a, float b) const { return left(b, a); }
};
struct PReluDerivative {
  TRTACT_HD float left(float a, float b) const { return a > 0.0f ? 1.0f : b; }
  TRTACT_HD float right(float a, float) const { return a > 0.0f ? 0.0f : a; }
};

}  // namespace trtact
