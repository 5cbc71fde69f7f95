// The list of activations: which number in compute.h is which function of
// activation.h, and a function object that carries the number and decides for each
// element, for kernels in which a copy for every activation would buy nothing.
#pragma once

#include "activation.h"
#include "trtact/compute.h"

// X(number, function object), where p is the trtact_activation.
#define TRTACT_ACTIVATIONS(X, p)                      \
  X(TRTACT_ACT_NONE, (Identity{}))                    \
  X(TRTACT_ACT_RELU, (Relu{}))                        \
  X(TRTACT_ACT_LEAKY_RELU, (LeakyRelu{p.a}))          \
  X(TRTACT_ACT_SIGMOID, (Sigmoid{}))                  \
  X(TRTACT_ACT_HARD_SIGMOID, (HardSigmoid{p.a, p.b})) \
  X(TRTACT_ACT_HARD_SWISH, (HardSwish{}))             \
  X(TRTACT_ACT_SILU, (Silu{}))                        \
  X(TRTACT_ACT_TANH, (Tanh{}))                        \
  X(TRTACT_ACT_CLIP, (Clip{p.a, p.b}))                \
  X(TRTACT_ACT_MISH, (Mish{}))                        \
  X(TRTACT_ACT_GELU, (Gelu{}))                        \
  X(TRTACT_ACT_GELU_TANH, (GeluTanh{}))               \
  X(TRTACT_ACT_ELU, (Elu{p.a}))                       \
  X(TRTACT_ACT_SOFTPLUS, (Softplus{}))                \
  X(TRTACT_ACT_EXP, (Exp{}))                          \
  X(TRTACT_ACT_LOG, (Log{}))                          \
  X(TRTACT_ACT_SQRT, (Sqrt{}))                        \
  X(TRTACT_ACT_ABS, (Abs{}))                          \
  X(TRTACT_ACT_NEG, (Neg{}))                          \
  X(TRTACT_ACT_RECIPROCAL, (Reciprocal{}))            \
  X(TRTACT_ACT_FLOOR, (Floor{}))                      \
  X(TRTACT_ACT_CEIL, (Ceil{}))                        \
  X(TRTACT_ACT_ROUND, (Round{}))                      \
  X(TRTACT_ACT_ERF, (Erf{}))

namespace trtact {

struct AnyActivation {
  trtact_activation p;

  TRTACT_HD float operator()(float x) const {
    switch (p.kind) {
#define TRTACT_VALUE(kind, f) \
  case kind: return f(x);
      TRTACT_ACTIVATIONS(TRTACT_VALUE, p)
#undef TRTACT_VALUE
    }
    return x;
  }
  TRTACT_HD float derivative(float x) const {
    switch (p.kind) {
#define TRTACT_DERIVATIVE(kind, f) \
  case kind: return f.derivative(x);
      TRTACT_ACTIVATIONS(TRTACT_DERIVATIVE, p)
#undef TRTACT_DERIVATIVE
    }
    return 1.0f;
  }
};

}  // namespace trtact
