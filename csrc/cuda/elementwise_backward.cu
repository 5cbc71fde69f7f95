// Gradients of the elementwise operators and of the per-channel affine one, and the sum
// of gradients of a tensor with several readers. All are bound by memory bandwidth.
#include <algorithm>

#include "activate.h"
#include "broadcast.h"
#include "reduce.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

template <class F>
struct UnaryGradient {
  const float *x, *dy;
  float* dx;
  F f;
  struct Two {
    float x, dy;
  };
  TRTACT_HD Two load(uint32_t i) const { return {x[i], dy[i]}; }
  TRTACT_HD void store(uint32_t i, Two v) const { dx[i] = f.derivative(v.x) * v.dy; }
};

class UnaryBackward : public Op {
 public:
  explicit UnaryBackward(const Desc& d) : size_(elements(d.out(0))), act_(d.params<trtact_activation>()) {
    require_same(d.in(0), d.out(0), "unary backward: x and dx differ in shape or layout");
    require_same(d.in(1), d.out(0), "unary backward: dy and dx differ in shape or layout");
    require_activation(act_);
  }
  void run(const Args& args) const override {
    with_activation(act_, [&](auto f) {
      TRTACT_MAP(args.lane.stream, size_, UnaryGradient<decltype(f)>{args.in[0], args.in[1], args.out[0], f});
    });
  }

 private:
  int64_t size_;
  trtact_activation act_;
};

template <class F>
struct BinaryGradient {
  const float *a, *b, *dy;
  float* out;
  Broadcast at;
  bool left;
  F f;
  struct Three {
    float a, b, dy;
  };
  TRTACT_HD Three load(uint32_t i) const {
    uint32_t at_a, at_b;
    at.place(i, &at_a, &at_b);
    return {a[at_a], b[at_b], dy[i]};
  }
  TRTACT_HD void store(uint32_t i, Three v) const { out[i] = (left ? f.left(v.a, v.b) : f.right(v.a, v.b)) * v.dy; }
};

class BinaryBackward : public Op {
 public:
  explicit BinaryBackward(const Desc& d)
      : size_(elements(d.out(0))), p_(d.params<trtact_binary_backward>()), a_(d, 0), b_(d, 1),
        at_(d.in(0), d.in(1), d.out(0)) {
    require_binary(p_.kind);
    require(p_.by == 0 || p_.by == 1, "binary backward: by is 0 or 1");
    require_same(d.in(2), d.out(0), "binary backward: dy and the gradient differ in shape or layout");
  }
  void run(const Args& args) const override {
    with_binary(p_.kind, [&](auto f) {
      TRTACT_MAP(args.lane.stream, size_,
                 BinaryGradient<decltype(f)>{a_.of(args), b_.of(args), args.in[2], args.out[0], at_, p_.by == 0, f});
    });
  }

 private:
  int64_t size_;
  trtact_binary_backward p_;
  Input a_, b_;
  Broadcast at_;
};

// Writes dx; the terms of dscale and dshift.
template <class F>
struct AffineGradient {
  const float *x, *scale, *shift, *dy;
  float* dx;
  uint32_t channels, space;
  F f;
  struct Loaded {
    float x, dy, scale, shift;
  };
  TRTACT_HD size_t at(uint32_t plane, uint32_t i) const { return static_cast<size_t>(plane) * space + i; }
  TRTACT_HD Loaded load(uint32_t plane, uint32_t i) const {
    return {x[at(plane, i)], dy[at(plane, i)], scale[plane % channels], shift[plane % channels]};
  }
  TRTACT_HD Two term(uint32_t plane, uint32_t i, Loaded v) const {
    const float g = f.derivative(v.x * v.scale + v.shift) * v.dy;
    dx[at(plane, i)] = g * v.scale;
    return {static_cast<double>(g) * v.x, g};
  }
};
struct StoreTwo {
  Two* to;
  TRTACT_HD void operator()(uint32_t plane, Two v) const { to[plane] = v; }
};
// The sums of a channel over the images.
struct OverImages {
  const Two* plane;
  float *dscale, *dshift;
  uint32_t images, channels;
  TRTACT_HD void operator()(uint32_t c) const {
    Two sum{0, 0};
    for (uint32_t n = 0; n < images; n++) {
      sum.a += plane[n * channels + c].a;
      sum.b += plane[n * channels + c].b;
    }
    dscale[c] = static_cast<float>(sum.a);
    dshift[c] = static_cast<float>(sum.b);
  }
};

class AffineBackward : public Op {
 public:
  explicit AffineBackward(const Desc& d)
      : view_(d.out(0)), act_(d.params<trtact_activation>()), scale_(d, 1), shift_(d, 2),
        sums_(d.raw.n_outputs == 3), at_parts_(aligned(static_cast<size_t>(view_.n * view_.c) * sizeof(Two))) {
    require_same(d.in(0), d.out(0), "affine backward: x and dx differ in shape or layout");
    require_same(d.in(3), d.out(0), "affine backward: dy and dx differ in shape or layout");
    for (int i = 1; i <= 2; i++)
      require(elements(d.in(i)) == view_.c, "affine backward: scale and shift have one value per channel");
    require(d.raw.n_outputs == 1 || sums_, "affine backward: outputs are dx, or dx, dscale and dshift");
    if (sums_)
      for (int i = 1; i <= 2; i++)
        require(elements(d.out(i)) == view_.c, "affine backward: dscale and dshift have one value per channel");
    require_activation(act_);
    workspace_bytes = at_parts_ + bytes_of_planes<AddTwo>(view_.n * view_.c, view_.space);
  }
  void run(const Args& args) const override {
    Two* planes = reinterpret_cast<Two*>(args.workspace);
    const uint32_t channels = static_cast<uint32_t>(view_.c);
    with_activation(act_, [&](auto f) {
      reduce_planes<AddTwo>(TRTACT_PLACE(affine_gradient), args.lane.stream, view_.n * view_.c, view_.space,
                            args.workspace + at_parts_,
                            AffineGradient<decltype(f)>{args.in[0], scale_.of(args), shift_.of(args), args.in[3],
                                                        args.out[0], channels, static_cast<uint32_t>(view_.space), f},
                            StoreTwo{planes});
    });
    if (sums_)
      TRTACT_EACH(args.lane.stream, view_.c,
                  OverImages{planes, args.out[1], args.out[2], static_cast<uint32_t>(view_.n), channels});
  }

 private:
  View view_;
  trtact_activation act_;
  Input scale_, shift_;
  bool sums_;
  size_t at_parts_;
};

constexpr int kMostTerms = 8; // of one kernel

// kTerms of them, which may be y itself.
template <int kTerms>
struct SumOf {
  const float* x[kTerms];
  float* y;
  struct Loaded {
    float x[kTerms];
  };
  TRTACT_HD Loaded load(uint32_t i) const {
    Loaded v;
    for (int k = 0; k < kTerms; k++) v.x[k] = x[k][i];
    return v;
  }
  TRTACT_HD void store(uint32_t i, Loaded v) const {
    float sum = v.x[0];
    for (int k = 1; k < kTerms; k++) sum += v.x[k];
    y[i] = sum;
  }
};

// y is the sum of so many terms.
template <int kTerms = kMostTerms>
void add_up(cudaStream_t stream, int64_t size, const float* const* x, int terms, float* y) {
  if constexpr (kTerms > 1)
    if (terms < kTerms) return add_up<kTerms - 1>(stream, size, x, terms, y);
  SumOf<kTerms> s{{}, y};
  std::copy_n(x, kTerms, s.x);
  TRTACT_MAP(stream, size, s);
}

class Sum : public Op {
 public:
  explicit Sum(const Desc& d)
      : size_(elements(d.out(0))), terms_(d.raw.n_inputs), accumulate_(d.params<trtact_sum>().accumulate != 0) {
    require(terms_ >= 1, "sum: no inputs");
    for (int i = 0; i < terms_; i++)
      require_same(d.in(i), d.out(0), "sum: an input and the output differ in shape or layout");
  }
  void run(const Args& args) const override {
    const float* x[kMostTerms] = {args.out[0]};
    int terms = accumulate_ ? 1 : 0;
    for (int i = 0; i < terms_; i++) {
      x[terms++] = args.in[i];
      if (terms < kMostTerms && i + 1 < terms_) continue;
      add_up(args.lane.stream, size_, x, terms, args.out[0]);
      x[0] = args.out[0];
      terms = 1;
    }
  }

 private:
  int64_t size_;
  int terms_;
  bool accumulate_;
};

}  // namespace

std::unique_ptr<Op> make_unary_backward(const Desc& d) { return std::make_unique<UnaryBackward>(d); }
std::unique_ptr<Op> make_binary_backward(const Desc& d) { return std::make_unique<BinaryBackward>(d); }
std::unique_ptr<Op> make_affine_backward(const Desc& d) { return std::make_unique<AffineBackward>(d); }
std::unique_ptr<Op> make_sum(const Desc& d) { return std::make_unique<Sum>(d); }

}  // namespace trtact::cuda
