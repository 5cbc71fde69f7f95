// The two-operand functions, with their derivatives by the left operand and by the
// right one. Where two operands are equal, the greater and the smaller of them share
// the gradient in halves, as in PyTorch.
#pragma once

#include "activation.h"
#include "trtact/compute.h"

// X(number in compute.h, function object)
#define TRTACT_BINARIES(X)      \
  X(TRTACT_ADD, (Add{}))        \
  X(TRTACT_SUB, (Subtract{}))   \
  X(TRTACT_MUL, (Multiply{}))   \
  X(TRTACT_DIV, (Divide{}))     \
  X(TRTACT_POW, (Power{}))      \
  X(TRTACT_MIN, (Smaller{}))    \
  X(TRTACT_MAX, (Greater{}))    \
  X(TRTACT_PRELU, (PRelu{}))

namespace trtact {

struct Add {
  TRTACT_HD float operator()(float a, float b) const { return a + b; }
  TRTACT_HD float left(float, float) const { return 1.0f; }
  TRTACT_HD float right(float, float) const { return 1.0f; }
};
struct Subtract {
  TRTACT_HD float operator()(float a, float b) const { return a - b; }
  TRTACT_HD float left(float, float) const { return 1.0f; }
  TRTACT_HD float right(float, float) const { return -1.0f; }
};
struct Multiply {
  TRTACT_HD float operator()(float a, float b) const { return a * b; }
  TRTACT_HD float left(float, float b) const { return b; }
  TRTACT_HD float right(float a, float) const { return a; }
};
struct Divide {
  TRTACT_HD float operator()(float a, float b) const { return a / b; }
  TRTACT_HD float left(float, float b) const { return 1.0f / b; }
  TRTACT_HD float right(float a, float b) const { return -(a / b) / b; }
};
struct Power {
  TRTACT_HD float operator()(float a, float b) const { return powf(a, b); }
  TRTACT_HD float left(float a, float b) const { return b == 0.0f ? 0.0f : b * powf(a, b - 1.0f); }
  TRTACT_HD float right(float a, float b) const {
    return a == 0.0f && b >= 0.0f ? 0.0f : powf(a, b) * logf(a);
  }
};
struct Smaller {
  TRTACT_HD float operator()(float a, float b) const { return minimum(a, b); }
  TRTACT_HD float left(float a, float b) const { return a < b ? 1.0f : a == b ? 0.5f : 0.0f; }
  TRTACT_HD float right(float a, float b) const { return left(b, a); }
};
struct Greater {
  TRTACT_HD float operator()(float a, float b) const { return maximum(a, b); }
  TRTACT_HD float left(float a, float b) const { return a > b ? 1.0f : a == b ? 0.5f : 0.0f; }
  TRTACT_HD float right(float a, float b) const { return left(b, a); }
};
struct PRelu {
  TRTACT_HD float operator()(float a, float b) const { return a < 0.0f ? a * b : a; }
  TRTACT_HD float left(float a, float b) const { return a > 0.0f ? 1.0f : b; }
  TRTACT_HD float right(float a, float) const { return a > 0.0f ? 0.0f : a; }
};

// One that decides for each element.
struct AnyBinary {
  int32_t kind;
#define TRTACT_CASE(kind, f) \
  case kind: return f TRTACT_CALL;
#define TRTACT_CALL (a, b)
  TRTACT_HD float operator()(float a, float b) const {
    switch (kind) { TRTACT_BINARIES(TRTACT_CASE) }
    return a;
  }
#undef TRTACT_CALL
#define TRTACT_CALL .left(a, b)
  TRTACT_HD float left(float a, float b) const {
    switch (kind) { TRTACT_BINARIES(TRTACT_CASE) }
    return 0.0f;
  }
#undef TRTACT_CALL
#define TRTACT_CALL .right(a, b)
  TRTACT_HD float right(float a, float b) const {
    switch (kind) { TRTACT_BINARIES(TRTACT_CASE) }
    return 0.0f;
  }
#undef TRTACT_CALL
#undef TRTACT_CASE
};

}  // namespace trtact
