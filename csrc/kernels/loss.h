// Terms of the distillation losses: d is student - teacher; s, t are elements of a
// student's and a teacher's group.
#pragma once

#include <cmath>

#include "activation.h"

namespace trtact {

struct SquaredError {
  TRTACT_HD float value(float d) const { return d * d; }
  TRTACT_HD float derivative(float d) const { return 2.0f * d; }
};
struct AbsoluteError {
  TRTACT_HD float value(float d) const { return fabsf(d); }
  TRTACT_HD float derivative(float d) const { return d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : 0.0f; }
};

// An element of a softmax with temperature 1/per: less the group's greatest, and its
// exponential.
TRTACT_HD float shifted(float x, float top, float per) { return (x - top) * per; }

// What the elements of a group share: the logarithm and the reciprocal of the sum of
// exponentials.
struct SoftmaxSum {
  float log, per;
  explicit TRTACT_HD SoftmaxSum(double sum) : log(static_cast<float>(::log(sum))), per(static_cast<float>(1 / sum)) {}
};

// -p log s and KL(p, s) of one element, from what shifted() gives and its exponential,
// and the gradient of the first.
struct Divergence {
  double cross, kl;
  float gradient;
  TRTACT_HD Divergence(float s, float exp_s, float log_s, float per_s, float t, float exp_t, float log_t, float per_t) {
    const float ls = s - log_s, lt = t - log_t, p = exp_t * per_t;
    cross = -static_cast<double>(p) * ls;
    kl = static_cast<double>(p) * (lt - ls);
    gradient = exp_s * per_s - p;
  }
};

// 1 - cos of two vectors from their three products, and the factors of the teacher and
// the student in its gradient times share; a vector shorter than 1e-8 counts as that
// long, as in PyTorch.
struct Cosine {
  double value;
  float by_s, by_t;
  TRTACT_HD Cosine(double st, double ss, double tt, double share) {
    const double least = 1e-8;
    const double a = sqrt(ss) > least ? sqrt(ss) : least, b = sqrt(tt) > least ? sqrt(tt) : least;
    const double cos = st / (a * b);
    value = 1 - cos;
    by_t = static_cast<float>(-share / (a * b));
    by_s = static_cast<float>(a > least ? share * cos / (a * a) : 0);
  }
};

}  // namespace trtact
