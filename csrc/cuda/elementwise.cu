// Elementwise operators: unary, binary with broadcasting, per-channel affine. All are
// bound by memory bandwidth.
#include "activate.h"
#include "broadcast.h"
#include "launch.h"

namespace trtact::cuda {
namespace {

template <class F>
struct UnaryForward {
  const float* x;
  float* y;
  F f;
  TRTACT_HD float load(uint32_t i) const { return x[i]; }
  TRTACT_HD void store(uint32_t i, float v) const { y[i] = f(v); }
};

class Unary : public Op {
 public:
  explicit Unary(const Desc& d) : size_(elements(d.out(0))), act_(d.params<trtact_activation>()) {
    require_same(d.in(0), d.out(0), "unary: input and output differ in shape or layout");
    require_activation(act_);
  }
  void run(const Args& args) const override {
    with_activation(act_, [&](auto f) {
      TRTACT_MAP(args.lane.stream, size_, UnaryForward<decltype(f)>{args.in[0], args.out[0], f});
    });
  }

 private:
  int64_t size_;
  trtact_activation act_;
};

template <class F>
struct BinaryForward {
  const float *a, *b;
  float* y;
  Broadcast at;
  F f;
  struct Two {
    float a, b;
  };
  TRTACT_HD Two load(uint32_t i) const {
    uint32_t at_a, at_b;
    at.place(i, &at_a, &at_b);
    return {a[at_a], b[at_b]};
  }
  TRTACT_HD void store(uint32_t i, Two v) const { y[i] = f(v.a, v.b); }
};

class Binary : public Op {
 public:
  explicit Binary(const Desc& d)
      : size_(elements(d.out(0))), kind_(d.params<trtact_binary>().kind), a_(d, 0), b_(d, 1),
        at_(d.in(0), d.in(1), d.out(0)) {
    require_binary(kind_);
  }
  void run(const Args& args) const override {
    with_binary(kind_, [&](auto f) {
      TRTACT_MAP(args.lane.stream, size_, BinaryForward<decltype(f)>{a_.of(args), b_.of(args), args.out[0], at_, f});
    });
  }

 private:
  int64_t size_;
  int32_t kind_;
  Input a_, b_;
  Broadcast at_;
};

// act(x * scale[c] + shift[c])
template <class F>
struct AffineForward {
  const float *x, *scale, *shift;
  float* y;
  uint32_t channels, space;
  F f;
  struct Plane {
    const float* x;
    float* y;
    float s, t;
    F f;
    TRTACT_HD float load(uint32_t i) const { return x[i]; }
    TRTACT_HD void store(uint32_t i, float v) const { y[i] = f(v * s + t); }
  };
  TRTACT_HD Plane opened(uint32_t p) const {
    const size_t first = static_cast<size_t>(p) * space;
    return {x + first, y + first, scale[p % channels], shift[p % channels], f};
  }
};

class Affine : public Op {
 public:
  explicit Affine(const Desc& d)
      : view_(d.out(0)), act_(d.params<trtact_activation>()), scale_(d, 1), shift_(d, 2) {
    require_same(d.in(0), d.out(0), "affine: input and output differ in shape or layout");
    require(elements(d.in(1)) == view_.c && elements(d.in(2)) == view_.c,
            "affine: scale and shift must have one value per channel");
    require_activation(act_);
  }
  void run(const Args& args) const override {
    with_activation(act_, [&](auto f) {
      TRTACT_MAP_PLANES(args.lane.stream, view_.n * view_.c, view_.space,
                        AffineForward<decltype(f)>{args.in[0], scale_.of(args), shift_.of(args), args.out[0],
                                                   static_cast<uint32_t>(view_.c), static_cast<uint32_t>(view_.space), f});
    });
  }

 private:
  View view_;
  trtact_activation act_;
  Input scale_, shift_;
};

}  // namespace

std::unique_ptr<Op> make_unary(const Desc& d) { return std::make_unique<Unary>(d); }
std::unique_ptr<Op> make_binary(const Desc& d) { return std::make_unique<Binary>(d); }
std::unique_ptr<Op> make_affine(const Desc& d) { return std::make_unique<Affine>(d); }

}  // namespace trtact::cuda
