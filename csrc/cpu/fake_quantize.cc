// Fake quantisation for training: an activation and its quantiser in one pass
// over memory, weights with scales of their own, both with gradients (straight
// through, LSQ, PACT).
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "../kernels/fake_quantize.h"
#include "../kernels/histogram.h"
#include "activate.h"
#include "each.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

// Calls f with the grid of an operator's parameters.
template <class P, class F>
void with_grid(const P& p, float scale, bool pass_outside, const F& f) {
  const float far = std::numeric_limits<float>::infinity();
  const float low = pass_outside ? -far : p.low, high = pass_outside ? far : p.high;
  if (p.rounding == TRTACT_HALF_AWAY)
    f(Grid<true>(scale, p.low, p.high, low, high));
  else
    f(Grid<false>(scale, p.low, p.high, low, high));
}

// Calls f with the grid and the activation. Paddle's rounding is there to compare with:
// its loops decide for each element which activation it is.
template <class F>
void with_grid_and_activation(const trtact_act_quantize& p, float scale, bool pass_outside, const F& f) {
  with_grid(p, scale, pass_outside, [&](auto grid) {
    if constexpr (grid.half_away)
      f(grid, AnyActivation{p.act});
    else
      with_common_activation(p.act, [&](auto act) { f(grid, act); });
  });
}

class ActQuantize : public Op {
 public:
  explicit ActQuantize(const Desc& d)
      : view_(d.out(0)), p_(d.params<trtact_act_quantize>()), scale_(d, 1),
        with_y_(d.raw.n_outputs > (p_.has_absmax ? 2 : 1)) {
    require_same(d.in(0), d.out(0), "act quantize: x and q differ in shape or layout");
    if (with_y_) require_same(d.in(0), d.out(1), "act quantize: x and y differ in shape or layout");
    require(elements(d.in(1)) == 1, "act quantize: one scale");
    if (p_.has_clip) {
      require(elements(d.in(2)) == 1, "act quantize: one clip value");
      clip_ = Input(d, 2);
    }
    if (p_.has_absmax) {
      at_absmax_ = with_y_ ? 2 : 1;
      require(elements(d.out(at_absmax_)) == 1, "act quantize: absmax is one value");
      workspace_bytes = bytes_of_sums(pieces_of(view_));
    }
    require_activation(p_.act);
  }
  void run(const Args& args) const override {
    const float clip = p_.has_clip ? *clip_.of(args) : std::numeric_limits<float>::infinity();
    with_grid_and_activation(p_, *scale_.of(args), false, [&](auto grid, auto f) {
      const auto put = [=](float a) TRTACT_INLINE { return grid(clip_to(clip, a)); };
      with_y_ ? pass<true>(args, f, put) : pass<false>(args, f, put);
    });
  }

 private:
  template <bool kWithY, class F, class G>
  void pass(const Args& args, const F& f, const G& put) const {
    const float* x = args.in[0];
    float *q = args.out[0], *y = kWithY ? args.out[1] : nullptr;
    const auto one = [=](int64_t i, bool real) TRTACT_INLINE {
      const float a = f(x[i]);
      if constexpr (kWithY) y[i] = real ? a : 0.0f;
      q[i] = real ? put(a) : 0.0f;
      return real ? magnitude_bits(a) : 0;
    };
    if (!p_.has_absmax) return each_element(view_, [=](int64_t i, bool real) TRTACT_INLINE { one(i, real); });
    float& top = args.out[at_absmax_][0];
    top = of_bits(std::max(magnitude_bits(top), greatest_element(view_, reinterpret_cast<int32_t*>(args.workspace), one)));
  }

  View view_;
  trtact_act_quantize p_;
  Input scale_, clip_;
  bool with_y_;
  int at_absmax_ = 0;
};

class ActQuantizeBackward : public Op {
 public:
  explicit ActQuantizeBackward(const Desc& d)
      : view_(d.out(0)), p_(d.params<trtact_act_quantize>()), scale_(d, 1), sum_(d.raw.n_outputs > 1) {
    require_same(d.in(0), d.out(0), "act quantize backward: x and dx differ in shape or layout");
    require_same(d.in(2), d.out(0), "act quantize backward: dq and dx differ in shape or layout");
    require(elements(d.in(1)) == 1, "act quantize backward: one scale");
    if (p_.has_clip) {
      require(elements(d.in(3)) == 1, "act quantize backward: one clip value");
      clip_ = Input(d, 3);
    }
    if (p_.has_dy) {
      at_dy_ = p_.has_clip ? 4 : 3;
      require_same(d.in(at_dy_), d.out(0), "act quantize backward: dy and dx differ in shape or layout");
    }
    if (sum_) {
      require(elements(d.out(1)) == 1, "act quantize backward: dscale and dclip are one value");
      workspace_bytes = bytes_of_sums(pieces_of(view_));
    }
    require_activation(p_.act);
  }

  void run(const Args& args) const override {
    const float* dy = p_.has_dy ? args.in[at_dy_] : nullptr;
    with_grid_and_activation(p_, *scale_.of(args), p_.pass_outside != 0, [&](auto grid, auto f) {
      const auto loop = [&](auto summed, auto term) {
        if (dy)
          pass<summed>(args, f, term, [=](int64_t i) TRTACT_INLINE { return dy[i]; });
        else
          pass<summed>(args, f, term, [](int64_t) TRTACT_INLINE { return 0.0f; });
      };
      if (p_.has_clip) {
        const float clip = *clip_.of(args);
        const auto term = [=](float a, float g) TRTACT_INLINE { return learned_clip(grid, clip, a, g); };
        sum_ ? loop(std::true_type{}, term) : loop(std::false_type{}, term);
      } else if (sum_) {
        loop(std::true_type{}, [=](float a, float g) TRTACT_INLINE { return learned_step(grid, a, g); });
      } else {
        loop(std::false_type{}, [=](float a, float g) TRTACT_INLINE { return straight_through(grid, a, g); });
      }
    });
  }

 private:
  template <bool kSummed, class F, class T, class Y>
  void pass(const Args& args, const F& f, const T& term, const Y& other) const {
    const float *x = args.in[0], *dq = args.in[2];
    float* dx = args.out[0];
    const auto one = [=](int64_t i, bool real) TRTACT_INLINE {
      const float xi = x[i];
      const QuantizedGradient t = term(f(xi), dq[i]);
      const float slope = f.derivative(xi) * (t.da + other(i));
      dx[i] = real ? slope : 0.0f;
      return real ? t.sum : 0.0f;
    };
    if constexpr (kSummed) {
      const Two sum = sum_elements(view_, reinterpret_cast<Two*>(args.workspace),
                                   [=](int64_t i, bool real) TRTACT_INLINE { return Two{one(i, real), 0}; });
      args.out[1][0] = static_cast<float>(p_.has_clip ? sum.a : sum.a * p_.gradient_scale);
    } else {
      each_element(view_, [=](int64_t i, bool real) TRTACT_INLINE { one(i, real); });
    }
  }

  View view_;
  trtact_act_quantize p_;
  Input scale_, clip_;
  bool sum_;
  int at_dy_ = 0;
};

// Weights seen as [outer][channels][inner] around the axis.
struct Channels {
  int64_t outer = 1, channels = 1, inner = 1;

  Channels(const trtact_tensor& w, int32_t axis) {
    require(w.layout == TRTACT_PLAIN, "quantize weights: weights must be row-major");
    require(axis >= -1 && axis < w.rank, "quantize weights: axis outside the weights");
    if (axis < 0) {
      inner = elements(w);
      return;
    }
    for (int i = 0; i < axis; i++) outer *= w.dims[i];
    channels = w.dims[axis];
    for (int i = axis + 1; i < w.rank; i++) inner *= w.dims[i];
  }
  // f(c) for every channel, in parallel.
  template <class F>
  void each(const F& f) const {
    parallel(channels, std::max<int64_t>(1, kGrain / (outer * inner)), [&](int64_t from, int64_t to) {
      for (int64_t c = from; c < to; c++) f(c);
    });
  }
  // Where row o of channel c begins.
  int64_t at(int64_t o, int64_t c) const { return (o * channels + c) * inner; }
};

class QuantizeWeights : public Op {
 public:
  explicit QuantizeWeights(const Desc& d)
      : p_(d.params<trtact_quantize_weights>()), shape_(d.in(0), p_.axis) {
    require_same(d.in(0), d.out(0), "quantize weights: w and q differ in shape or layout");
    if (p_.learned) scale_ = Input(d, 1);
    require(elements(p_.learned ? d.in(1) : d.out(1)) == shape_.channels,
            "quantize weights: the number of scales is not the axis's size");
    require(p_.high > 0, "quantize weights: high must be positive");
  }
  void run(const Args& args) const override {
    const float* w = args.in[0];
    float* q = args.out[0];
    shape_.each([&](int64_t c) {
      const float s = p_.learned ? scale_.of(args)[c] : scale_of(absmax(w, c), p_.high);
      if (!p_.learned) args.out[1][c] = s;
      with_grid(p_, s, false, [&](auto grid) {
        for (int64_t o = 0; o < shape_.outer; o++) {
          const int64_t from = shape_.at(o, c), to = from + shape_.inner;
#pragma omp simd
          for (int64_t i = from; i < to; i++) q[i] = grid(w[i]);
        }
      });
    });
  }

 private:
  float absmax(const float* w, int64_t c) const {
    float top = 0;
    for (int64_t o = 0; o < shape_.outer; o++) {
      const int64_t from = shape_.at(o, c), to = from + shape_.inner;
#pragma omp simd reduction(max : top)
      for (int64_t i = from; i < to; i++) top = greatest(top, fabsf(w[i]));
    }
    return top;
  }

  trtact_quantize_weights p_;
  Channels shape_;
  Input scale_;
};

class QuantizeWeightsBackward : public Op {
 public:
  explicit QuantizeWeightsBackward(const Desc& d)
      : p_(d.params<trtact_quantize_weights>()), shape_(d.in(0), p_.axis), scale_(d, 1),
        sum_(d.raw.n_outputs > 1) {
    require_same(d.in(0), d.out(0), "quantize weights backward: w and dw differ in shape or layout");
    require_same(d.in(2), d.out(0), "quantize weights backward: dq and dw differ in shape or layout");
    require(elements(d.in(1)) == shape_.channels && (!sum_ || elements(d.out(1)) == shape_.channels),
            "quantize weights backward: the number of scales is not the axis's size");
  }
  void run(const Args& args) const override {
    const float *w = args.in[0], *dq = args.in[2];
    float* dw = args.out[0];
    shape_.each([&](int64_t c) {
      double sum = 0;
      with_grid(p_, scale_.of(args)[c], p_.pass_outside != 0, [&](auto grid) {
        double part = 0;
        for (int64_t o = 0; o < shape_.outer; o++) {
          const int64_t from = shape_.at(o, c), to = from + shape_.inner;
#pragma omp simd reduction(+ : part)
          for (int64_t i = from; i < to; i++) {
            const float g = dq[i];
            part += g * grid.step_derivative(w[i]);
            dw[i] = grid.passed(w[i], g);
          }
        }
        sum = part;
      });
      if (sum_) args.out[1][c] = static_cast<float>(sum * p_.gradient_scale);
    });
  }

 private:
  trtact_quantize_weights p_;
  Channels shape_;
  Input scale_;
  bool sum_;
};

}  // namespace

std::unique_ptr<Op> make_act_quantize(const Desc& d) { return std::make_unique<ActQuantize>(d); }
std::unique_ptr<Op> make_act_quantize_backward(const Desc& d) {
  return std::make_unique<ActQuantizeBackward>(d);
}
std::unique_ptr<Op> make_quantize_weights(const Desc& d) { return std::make_unique<QuantizeWeights>(d); }
std::unique_ptr<Op> make_quantize_weights_backward(const Desc& d) {
  return std::make_unique<QuantizeWeightsBackward>(d);
}

}  // namespace trtact::cpu
