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

// A grid whose scale is known on the device alone. It is read with the elements: what is
// read after a write is read anew.
struct GridAt {
  float low, high, pass_low, pass_high;
  bool half_away;

  template <class P>
  static GridAt of(const P& p, bool pass_outside) {
    const float far = std::numeric_limits<float>::infinity();
    return {p.low, p.high, pass_outside ? -far : p.low, pass_outside ? far : p.high,
            p.rounding == TRTACT_HALF_AWAY};
  }
  template <class F>
  TRTACT_HD auto with(float scale, const F& f) const {
    return half_away ? f(Grid<true>{scale, low, high, pass_low, pass_high})
                     : f(Grid<false>{scale, low, high, pass_low, pass_high});
  }
};

struct ValueOn {
  float a;
  template <class G>
  TRTACT_HD float operator()(const G& grid) const { return grid(a); }
};

template <class F>
struct ActQuantizeForward {
  const float *x, *scale;
  const float* clip; // or null
  GridAt grid;
  float *q, *y; // y or null
  F f;
  struct Loaded {
    float x, scale, clip;
  };
  TRTACT_HD Loaded load(uint32_t i) const { return {x[i], *scale, clip ? *clip : 0.0f}; }
  TRTACT_HD int32_t term(uint32_t i, Loaded v) const {
    const float a = f(v.x);
    if (y) y[i] = a;
    q[i] = grid.with(v.scale, ValueOn{clip ? clip_to(v.clip, a) : a});
    return magnitude_bits(a);
  }
  TRTACT_HD void store(uint32_t i, Loaded v) const { term(i, v); }
};
struct KeepGreatest {
  float* top;
  TRTACT_HD void operator()(int32_t bits) const { *top = of_bits(MaxBits{}(magnitude_bits(*top), bits)); }
};

class ActQuantize : public Op {
 public:
  explicit ActQuantize(const Desc& d)
      : size_(elements(d.out(0))), p_(d.params<trtact_act_quantize>()), grid_(GridAt::of(p_, false)), scale_(d, 1),
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
    with_activation(p_.act, [&](auto f) {
      const ActQuantizeForward<decltype(f)> pass{args.in[0], scale_.of(args),
                                                 p_.has_clip ? clip_.of(args) : nullptr, grid_, args.out[0],
                                                 with_y_ ? args.out[1] : nullptr, f};
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
  GridAt grid_;
  Input scale_, clip_;
  bool with_y_;
  int at_absmax_ = 0;
};

enum GradientKind { kStraightThrough, kLearnedStep, kLearnedClip };

struct GradientOn {
  GradientKind kind;
  float clip, a, g;
  template <class G>
  TRTACT_HD QuantizedGradient operator()(const G& grid) const {
    return kind == kLearnedClip   ? learned_clip(grid, clip, a, g)
           : kind == kLearnedStep ? learned_step(grid, a, g)
                                  : straight_through(grid, a, g);
  }
};

template <class F>
struct ActQuantizeGradient {
  const float *x, *scale, *dq;
  const float *dy, *clip; // or null
  GridAt grid;
  GradientKind kind;
  float* dx;
  F f;
  struct Loaded {
    float x, dq, dy, scale, clip;
  };
  TRTACT_HD Loaded load(uint32_t i) const { return {x[i], dq[i], dy ? dy[i] : 0.0f, *scale, clip ? *clip : 0.0f}; }
  TRTACT_HD double term(uint32_t i, Loaded v) const {
    const QuantizedGradient t = grid.with(v.scale, GradientOn{kind, v.clip, f(v.x), v.dq});
    dx[i] = f.derivative(v.x) * (t.da + v.dy);
    return t.sum;
  }
  TRTACT_HD void store(uint32_t i, Loaded v) const { term(i, v); }
};
struct StoreSum {
  float* to;
  float factor;
  TRTACT_HD void operator()(double sum) const { *to = static_cast<float>(sum * factor); }
};

class ActQuantizeBackward : public Op {
 public:
  explicit ActQuantizeBackward(const Desc& d)
      : size_(elements(d.out(0))), p_(d.params<trtact_act_quantize>()), grid_(GridAt::of(p_, p_.pass_outside != 0)),
        scale_(d, 1), sum_(d.raw.n_outputs > 1) {
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
    with_activation(p_.act, [&](auto f) {
      const ActQuantizeGradient<decltype(f)> g{
          args.in[0], scale_.of(args), args.in[2], p_.has_dy ? args.in[at_dy_] : nullptr,
          p_.has_clip ? clip_.of(args) : nullptr, grid_, kind, args.out[0], f};
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
  GridAt grid_;
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
struct WeightOnGrid {
  const float *w, *scale;
  float* q;
  GridAt grid;
  Rows rows;
  struct Loaded {
    float w, scale;
  };
  TRTACT_HD Loaded load(uint32_t i) const { return {w[i], scale[i / rows.inner % rows.channels]}; }
  TRTACT_HD void store(uint32_t i, Loaded v) const { q[i] = grid.with(v.scale, ValueOn{v.w}); }
};

class QuantizeWeights : public Op {
 public:
  explicit QuantizeWeights(const Desc& d)
      : p_(d.params<trtact_quantize_weights>()), channels_(d.in(0), p_.axis), grid_(GridAt::of(p_, false)) {
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
    TRTACT_MAP(args.lane.stream, rows.channels * channels_.length, WeightOnGrid{args.in[0], scale, args.out[0], grid_, rows});
  }

 private:
  trtact_quantize_weights p_;
  Channels channels_;
  GridAt grid_;
  Input scale_;
};

// Writes dw; the terms of dscale.
struct WeightGradient {
  const float *w, *scale, *dq;
  float* dw;
  GridAt grid;
  Rows rows;
  struct Loaded {
    float w, dq, scale;
  };
  TRTACT_HD Loaded load(uint32_t c, uint32_t i) const {
    const size_t at = rows.at(c, i);
    return {w[at], dq[at], scale[c]};
  }
  TRTACT_HD double term(uint32_t c, uint32_t i, Loaded v) const {
    const QuantizedGradient t = grid.with(v.scale, GradientOn{kLearnedStep, 0.0f, v.w, v.dq});
    dw[rows.at(c, i)] = t.da;
    return t.sum;
  }
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
        grid_(GridAt::of(p_, p_.pass_outside != 0)), scale_(d, 1), sum_(d.raw.n_outputs > 1) {
    require_same(d.in(0), d.out(0), "quantize weights backward: w and dw differ in shape or layout");
    require_same(d.in(2), d.out(0), "quantize weights backward: dq and dw differ in shape or layout");
    require(elements(d.in(1)) == channels_.rows.channels && (!sum_ || elements(d.out(1)) == channels_.rows.channels),
            "quantize weights backward: the number of scales is not the axis's size");
    workspace_bytes = bytes_of_planes<Add>(channels_.rows.channels, channels_.length);
  }
  void run(const Args& args) const override {
    reduce_planes<Add>(
        TRTACT_PLACE(weight_gradient), args.lane.stream, channels_.rows.channels, channels_.length, args.workspace,
        WeightGradient{args.in[0], scale_.of(args), args.in[2], args.out[0], grid_, channels_.rows},
        StoreStep{sum_ ? args.out[1] : nullptr, p_.gradient_scale});
  }

 private:
  trtact_quantize_weights p_;
  Channels channels_;
  GridAt grid_;
  Input scale_;
  bool sum_;
};

}  // namespace

std::unique_ptr<Op> make_act_quantize(const Desc& d) { return std::make_unique<ActQuantize>(d); }
std::unique_ptr<Op> make_act_quantize_backward(const Desc& d) { return std::make_unique<ActQuantizeBackward>(d); }
std::unique_ptr<Op> make_quantize_weights(const Desc& d) { return std::make_unique<QuantizeWeights>(d); }
std::unique_ptr<Op> make_quantize_weights_backward(const Desc& d) { return std::make_unique<QuantizeWeightsBackward>(d); }

}  // namespace trtact::cuda
