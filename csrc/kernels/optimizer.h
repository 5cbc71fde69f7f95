// One parameter's update. g is the gradient, already scaled and clipped; rate
// the learning rate of its segment; decay its weight decay. PaddlePaddle's
// formulas, which are PyTorch's with dampening 0: decay adds to the gradient
// (L2), but for AdamW, where it shrinks the weight itself.
#pragma once

#include "host_device.h"

#include <cmath>

namespace trtact {

struct Sgd {
  TRTACT_HD void operator()(float& w, float g, float rate, float decay) const {
    w -= rate * (g + decay * w);
  }
};

struct Momentum {
  float momentum;
  bool nesterov;
  TRTACT_HD void operator()(float& w, float& velocity, float g, float rate, float decay) const {
    g += decay * w;
    velocity = momentum * velocity + g;
    w -= rate * (nesterov ? g + momentum * velocity : velocity);
  }
};

// correction1 and correction2 are 1 - beta^step. "Adam: A Method for Stochastic
// Optimization", Kingma and Ba 2015; decoupled: "Decoupled Weight Decay
// Regularization", Loshchilov and Hutter 2019.
struct Adam {
  float beta1, beta2, epsilon, correction1, correction2;
  bool decoupled;
  TRTACT_HD void operator()(float& w, float& first, float& second, float g, float rate,
                            float decay) const {
    if (decoupled)
      w -= rate * decay * w;
    else
      g += decay * w;
    first = beta1 * first + (1.0f - beta1) * g;
    second = beta2 * second + (1.0f - beta2) * g * g;
    w -= rate * (first / correction1) / (sqrtf(second / correction2) + epsilon);
  }
};

}  // namespace trtact
