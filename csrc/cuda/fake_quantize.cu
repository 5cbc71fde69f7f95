// Fake quantisation for training: an activation and its quantiser in one kernel, weights
// with scales of their own, both with gradients (straight through, LSQ, PACT). Scales and
// clips stay on the device: nothing here waits for them. Bound by memory bandwidth.
#include "../kernels/fake_quantize.h"

#include <limits>

#include "../kernels/histogram.h"
#include "activate.h"
#include "reduce.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

// A grid whose scale is known on the device alone.
template <bool kHalfAway>
struct GridAt {
  static constexpr bool half_away = kHalfAway;
  const float* scale;
  float low, high, pass_low, pass_high;
  TRTACT_HD Grid<kHalfAway> opened(uint32_t channel = 0) const {
    return {scale[channel], low, high, pass_low, pass_high};
  }
};

// Calls f with the grid of an operator's parameters.
template <class P, class F>
void with_grid(const P& p, const float* scale, bool pass_outside, const F& f) {
  const float far = std::numeric_limits<float>::infinity();
  const float low = pass_outside ? -far : p.low, high = pass_outside ? far : p.high;
  if (p.rounding == TRTACT_HALF_AWAY)
    f(GridAt<true>{scale, p.low, p.high, low, high});
  else
    f(GridAt<false>{scale, p.low, p.high, low, high});
}

// Calls f with the grid and the activation. Paddle's rounding is there to compare with:
// its kernels decide for each element which activation it is.
template <class F>
void with_grid_and_activation(const trtact_act_quantize& p, const float* scale, bool pass_outside, const F& f) {
  with_grid(p, scale, pass_outside, [&](auto grid) {
    if constexpr (grid.half_away)
      f(grid, AnyActivation{p.act});
    else
      with_activation(p.act, [&](auto act) { f(grid, act); });
  });
}

// The clip value, where there is one.
TRTACT_HD float clip_at(const float* clip) { return clip ? *clip : std::numeric_limits<float>::infinity(); }

template <bool kHalfAway, class F>
struct ActQuantizeForward {
  const float* x;
  const float* clip; // or null
  GridAt<kHalfAway> grid;
  float *q, *y; // y or null
  F f;

  struct Opened {
    const ActQuantizeForward& p;
    Grid<kHalfAway> grid;
    float clip;
    TRTACT_HD float load(uint32_t i) const { return p.x[i]; }
    TRTACT_HD int32_t term(uint32_t i, float x) const {
      const float a = p.f(x);
      if (p.y) p.y[i] = a;
      p.q[i] = grid(clip_to(clip, a));
      return magnitude_bits(a);
    }
    TRTACT_HD void store(uint32_t i, float x) const { term(i, x); }
  };
  TRTACT_HD Opened opened() const { return {*this, grid.opened(), clip_at(clip)}; }
};
struct KeepGreatest {
  float* top;
  TRTACT_HD void operator()(int32_t bits) const { *top = of_bits(MaxBits{}(magnitude_bits(*top), bits)); }
};

class ActQuantize : public Op {
 public:
  explicit ActQuantize(const Desc& d)
      : size_(elements(d.out(0))), p_(d.params<trtact_act_quantize>()), scale_(d, 1),
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
      workspace_bytes = bytes_of_pieces<MaxBits>(size_);
    }
    require_activation(p_.act);
  }
  void run(const Args& args) const override {
    with_grid_and_activation(p_, scale_.of(args), false, [&](auto grid, auto f) {
      const ActQuantizeForward<grid.half_away, decltype(f)> pass{args.in[0], p_.has_clip ? clip_.of(args) : nullptr,
                                                                 grid, args.out[0], with_y_ ? args.out[1] : nullptr, f};
      if (p_.has_absmax)
        reduce_all<MaxBits>(TRTACT_PLACE(act_quantize_absmax), args.lane.stream, size_, args.workspace, pass,
                            KeepGreatest{args.out[at_absmax_]});
      else
        TRTACT_MAP(args.lane.stream, size_, pass);
    });
  }

 private:
  int64_t size_;
  trtact_act_quantize p_;
  Input scale_, clip_;
  bool with_y_;
  int at_absmax_ = 0;
};

enum GradientKind { kStraightThrough, kLearnedStep, kLearnedClip };

template <class G>
TRTACT_HD QuantizedGradient gradient_of(GradientKind kind, const G& grid, float clip, float a, float g) {
  return kind == kLearnedClip   ? learned_clip(grid, clip, a, g)
         : kind == kLearnedStep ? learned_step(grid, a, g)
                                : straight_through(grid, a, g);
}

template <bool kHalfAway, class F>
struct ActQuantizeGradient {
  const float *x, *dq;
  const float *dy, *clip; // or null
  GridAt<kHalfAway> grid;
  GradientKind kind;
  float* dx;
  F f;

  struct Loaded {
    float x, dq, dy;
  };
  struct Opened {
    const ActQuantizeGradient& p;
    Grid<kHalfAway> grid;
    float clip;
    TRTACT_HD Loaded load(uint32_t i) const { return {p.x[i], p.dq[i], p.dy ? p.dy[i] : 0.0f}; }
    TRTACT_HD double term(uint32_t i, Loaded v) const {
      const QuantizedGradient t = gradient_of(p.kind, grid, clip, p.f(v.x), v.dq);
      p.dx[i] = p.f.derivative(v.x) * (t.da + v.dy);
      return t.sum;
    }
    TRTACT_HD void store(uint32_t i, Loaded v) const { term(i, v); }
  };
  TRTACT_HD Opened opened() const { return {*this, grid.opened(), clip_at(clip)}; }
};
struct StoreSum {
  float* to;
  float factor;
  TRTACT_HD void operator()(double sum) const { *to = static_cast<float>(sum * factor); }
};

class ActQuantizeBackward : public Op {
 public:
  explicit ActQuantizeBackward(const Desc& d)
      : size_(elements(d.out(0))), p_(d.params<trtact_act_quantize>()), scale_(d, 1), sum_(d.raw.n_outputs > 1) {
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
      workspace_bytes = bytes_of_pieces<Add>(size_);
    }
    require_activation(p_.act);
  }
  void run(const Args& args) const override {
    const GradientKind kind = p_.has_clip ? kLearnedClip : sum_ ? kLearnedStep : kStraightThrough;
    with_grid_and_activation(p_, scale_.of(args), p_.pass_outside != 0, [&](auto grid, auto f) {
      const ActQuantizeGradient<grid.half_away, decltype(f)> g{
          args.in[0], args.in[2], p_.has_dy ? args.in[at_dy_] : nullptr, p_.has_clip ? clip_.of(args) : nullptr, grid,
          kind, args.out[0], f};
      if (sum_)
        reduce_all<Add>(TRTACT_PLACE(act_quantize_gradient), args.lane.stream, size_, args.workspace, g,
                           StoreSum{args.out[1], p_.has_clip ? 1.0f : p_.gradient_scale});
      else
        TRTACT_MAP(args.lane.stream, size_, g);
    });
  }

 private:
  int64_t size_;
  trtact_act_quantize p_;
  Input scale_, clip_;
  bool sum_;
  int at_dy_ = 0;
};

// Weights seen as [outer][channels][inner] around the axis. A block has a channel.
struct Rows {
  uint32_t channels = 1, inner = 1;
  TRTACT_HD size_t at(uint32_t c, uint32_t i) const {
    return (static_cast<size_t>(i / inner) * channels + c) * inner + i % inner;
  }
};

class Channels {
 public:
  Channels(const trtact_tensor& w, int32_t axis) {
    require(axis >= -1 && axis < w.rank, "quantize weights: axis outside the weights");
    int64_t inner = elements(w), channels = 1;
    if (axis >= 0) {
      inner = 1;
      channels = w.dims[axis];
      for (int i = axis + 1; i < w.rank; i++) inner *= w.dims[i];
    }
    rows.channels = static_cast<uint32_t>(channels);
    rows.inner = static_cast<uint32_t>(inner);
    length = elements(w) / channels;
  }
  Rows rows;
  int64_t length; // elements of a channel
};

struct WeightMagnitude {
  const float* w;
  Rows rows;
  TRTACT_HD int32_t load(uint32_t c, uint32_t i) const { return magnitude_bits(w[rows.at(c, i)]); }
};
struct StoreScale {
  float* scale;
  float levels;
  TRTACT_HD void operator()(uint32_t c, int32_t bits) const { scale[c] = scale_of(of_bits(bits), levels); }
};
template <bool kHalfAway>
struct WeightOnGrid {
  const float* w;
  float* q;
  GridAt<kHalfAway> grid;
  Rows rows;
  TRTACT_HD float load(uint32_t i) const { return w[i]; }
  TRTACT_HD void store(uint32_t i, float v) const { q[i] = grid.opened(i / rows.inner % rows.channels)(v); }
};

class QuantizeWeights : public Op {
 public:
  explicit QuantizeWeights(const Desc& d)
      : p_(d.params<trtact_quantize_weights>()), channels_(d.in(0), p_.axis) {
    require_same(d.in(0), d.out(0), "quantize weights: w and q differ in shape or layout");
    if (p_.learned) scale_ = Input(d, 1);
    require(elements(p_.learned ? d.in(1) : d.out(1)) == channels_.rows.channels,
            "quantize weights: the number of scales is not the axis's size");
    require(p_.high > 0, "quantize weights: high must be positive");
    workspace_bytes = bytes_of_planes<MaxBits>(channels_.rows.channels, channels_.length);
  }
  void run(const Args& args) const override {
    const Rows rows = channels_.rows;
    if (!p_.learned)
      reduce_planes<MaxBits>(TRTACT_PLACE(weight_scales), args.lane.stream, rows.channels, channels_.length,
                             args.workspace, WeightMagnitude{args.in[0], rows}, StoreScale{args.out[1], p_.high});
    const float* scale = p_.learned ? scale_.of(args) : args.out[1];
    with_grid(p_, scale, false, [&](auto grid) {
      TRTACT_MAP(args.lane.stream, rows.channels * channels_.length,
                 WeightOnGrid<grid.half_away>{args.in[0], args.out[0], grid, rows});
    });
  }

 private:
  trtact_quantize_weights p_;
  Channels channels_;
  Input scale_;
};

// Writes dw; the terms of dscale.
template <bool kHalfAway>
struct WeightGradient {
  const float *w, *dq;
  float* dw;
  GridAt<kHalfAway> grid;
  Rows rows;

  struct Loaded {
    float w, dq;
  };
  struct Opened {
    const WeightGradient& p;
    Grid<kHalfAway> grid;
    TRTACT_HD Loaded load(uint32_t c, uint32_t i) const {
      const size_t at = p.rows.at(c, i);
      return {p.w[at], p.dq[at]};
    }
    TRTACT_HD double term(uint32_t c, uint32_t i, Loaded v) const {
      const QuantizedGradient t = learned_step(grid, v.w, v.dq);
      p.dw[p.rows.at(c, i)] = t.da;
      return t.sum;
    }
  };
  TRTACT_HD Opened opened(uint32_t c) const { return {*this, grid.opened(c)}; }
};
struct StoreStep {
  float* dscale; // or null
  float factor;
  TRTACT_HD void operator()(uint32_t c, double sum) const {
    if (dscale) dscale[c] = static_cast<float>(sum * factor);
  }
};

class QuantizeWeightsBackward : public Op {
 public:
  explicit QuantizeWeightsBackward(const Desc& d)
      : p_(d.params<trtact_quantize_weights>()), channels_(d.in(0), p_.axis),
        scale_(d, 1), sum_(d.raw.n_outputs > 1) {
    require_same(d.in(0), d.out(0), "quantize weights backward: w and dw differ in shape or layout");
    require_same(d.in(2), d.out(0), "quantize weights backward: dq and dw differ in shape or layout");
    require(elements(d.in(1)) == channels_.rows.channels && (!sum_ || elements(d.out(1)) == channels_.rows.channels),
            "quantize weights backward: the number of scales is not the axis's size");
    workspace_bytes = bytes_of_planes<Add>(channels_.rows.channels, channels_.length);
  }
  void run(const Args& args) const override {
    with_grid(p_, scale_.of(args), p_.pass_outside != 0, [&](auto grid) {
      reduce_planes<Add>(TRTACT_PLACE(weight_gradient), args.lane.stream, channels_.rows.channels, channels_.length,
                         args.workspace,
                         WeightGradient<grid.half_away>{args.in[0], args.in[2], args.out[0], grid, channels_.rows},
                         StoreStep{sum_ ? args.out[1] : nullptr, p_.gradient_scale});
    });
  }

 private:
  trtact_quantize_weights p_;
  Channels channels_;
  Input scale_;
  bool sum_;
};

}  // namespace

std::unique_ptr<Op> make_act_quantize(const Desc& d) { return std::make_unique<ActQuantize>(d); }
std::unique_ptr<Op> make_act_quantize_backward(const Desc& d) { return std::make_unique<ActQuantizeBackward>(d); }
std::unique_ptr<Op> make_quantize_weights(const Desc& d) { return std::make_unique<QuantizeWeights>(d); }
std::unique_ptr<Op> make_quantize_weights_backward(const Desc& d) { return std::make_unique<QuantizeWeightsBackward>(d); }

}  // namespace trtact::cuda
