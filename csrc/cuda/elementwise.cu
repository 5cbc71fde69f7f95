// Elementwise operators. All are bound by memory bandwidth.
#include "activate.h"
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

}  // namespace

std::unique_ptr<Op> make_unary(const Desc& d) { return std::make_unique<Unary>(d); }

}  // namespace trtact::cuda
