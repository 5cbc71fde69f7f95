// Optimisers over one flat buffer of parameters, and the gradient's norm.
#include "../kernels/optimizer.h"

#include <cmath>

#include "each.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

class GradientNorm : public Op {
 public:
  explicit GradientNorm(const Desc& d) : p_(d.params<trtact_gradient_norm>()), view_(d.in(0)) {
    require(d.in(0).layout == TRTACT_PLAIN, "gradient norm: the gradient must be row-major");
    require(elements(d.out(0)) == 2, "gradient norm: the output has two elements");
    workspace_bytes = bytes_of_sums(pieces_of(view_));
  }
  void run(const Args& args) const override {
    const float* g = args.in[0];
    const Two sum = sum_elements(view_, reinterpret_cast<Two*>(args.workspace), [=](int64_t i, bool) TRTACT_INLINE {
      return Two{static_cast<double>(g[i]) * g[i], 0};
    });
    const double norm = std::fabs(p_.scale) * std::sqrt(sum.a);
    args.out[0][0] = static_cast<float>(norm);
    // A NaN stays one.
    const bool over = p_.max_norm > 0 && !(norm <= p_.max_norm);
    args.out[0][1] = static_cast<float>(over ? p_.scale * (p_.max_norm / norm) : p_.scale);
  }

 private:
  trtact_gradient_norm p_;
  View view_;
};

class Optimize : public Op {
 public:
  explicit Optimize(const Desc& d) : p_(d.params<trtact_optimize>()), with_norm_(d.raw.n_inputs > 2) {
    require(p_.kind >= TRTACT_SGD && p_.kind <= TRTACT_ADAMW, "optimize: unknown kind");
    const int64_t size = elements(d.in(0));
    require(elements(d.in(1)) == 2 && (!with_norm_ || elements(d.in(2)) == 2),
            "optimize: control and norm have two elements");
    const int states = p_.kind == TRTACT_SGD ? 1 : p_.kind == TRTACT_MOMENTUM ? 2 : 3;
    for (int i = 0; i < states; i++)
      require(elements(d.out(i)) == size && d.out(i).layout == TRTACT_PLAIN,
              "optimize: parameters and states have the gradient's size");
    for (int i = 0; i < p_.n_segments; i++) {
      const auto& s = p_.segments[i];
      require(s.from >= 0 && s.count >= 0 && s.from + s.count <= size, "optimize: a segment leaves the parameters");
      segments_.push_back(s);
    }
    p_.segments = nullptr;
  }

  void run(const Args& args) const override {
    if (with_norm_ && !std::isfinite(args.in[2][0])) return;
    const float* g = args.in[0];
    float* w = args.out[0];
    const float rate = args.in[1][0];
    const double step = args.in[1][1];
    const float factor = with_norm_ ? args.in[2][1] : 1.0f;
    if (p_.kind == TRTACT_SGD) {
      const Sgd update;
      each(rate, [=](int64_t i, float r, float decay) TRTACT_INLINE { update(w[i], factor * g[i], r, decay); });
    } else if (p_.kind == TRTACT_MOMENTUM) {
      const Momentum update{p_.momentum, p_.nesterov != 0};
      float* velocity = args.out[1];
      each(rate, [=](int64_t i, float r, float decay) TRTACT_INLINE { update(w[i], velocity[i], factor * g[i], r, decay); });
    } else {
      const Adam update{p_.beta1, p_.beta2, p_.epsilon,
                        static_cast<float>(1 - std::pow(static_cast<double>(p_.beta1), step)),
                        static_cast<float>(1 - std::pow(static_cast<double>(p_.beta2), step)),
                        p_.kind == TRTACT_ADAMW};
      float *first = args.out[1], *second = args.out[2];
      each(rate, [=](int64_t i, float r, float decay) TRTACT_INLINE { update(w[i], first[i], second[i], factor * g[i], r, decay); });
    }
  }

 private:
  template <class F>
  void each(float rate, const F& f) const {
    for (const trtact_segment& s : segments_)
      parallel(s.count, kGrain, [&](int64_t from, int64_t to) {
        const float r = rate * s.rate, decay = s.decay;
        const F g = f;
#pragma omp simd
        for (int64_t i = s.from + from; i < s.from + to; i++) g(i, r, decay);
      });
  }

  trtact_optimize p_;
  bool with_norm_;
  std::vector<trtact_segment> segments_;
};

}  // namespace

std::unique_ptr<Op> make_gradient_norm(const Desc& d) { return std::make_unique<GradientNorm>(d); }
std::unique_ptr<Op> make_optimize(const Desc& d) { return std::make_unique<Optimize>(d); }

}  // namespace trtact::cpu
