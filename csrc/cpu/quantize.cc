// QuantizeLinear and DequantizeLinear with the integers kept as floats, so that
// what follows (a convolution on integer values, a pooling, a concatenation)
// works on them unchanged and exactly.
#include "../kernels/quantize.h"
#include "activate.h"

namespace trtact::cpu {
namespace {

class Quantize : public Op {
 public:
  Quantize(const Desc& d, bool inverse)
      : view_(d.out(0)), p_(d.params<trtact_quantize>()), inverse_(inverse) {
    const auto &x = d.in(0), &s = d.in(1);
    require(same_dims(x, d.out(0)) && x.layout == d.out(0).layout,
            "quantize: input and output differ in shape or layout");
    if (elements(s) != 1) {
      require(p_.axis >= 0 && p_.axis < x.rank && elements(s) == x.dims[p_.axis],
              "quantize: the number of scales is not the axis's size");
      require(x.layout == TRTACT_PLAIN, "quantize: scales per axis need a row-major tensor");
      axis_ = x.dims[p_.axis];
      for (int i = p_.axis + 1; i < x.rank; i++) inner_ *= x.dims[i];
    }
    if (const float* c = d.constant(1)) scale_.assign(c, c + elements(s));
  }
  void run(const Args& args) const override {
    const float* scale = scale_.empty() ? args.in[1] : scale_.data();
    const float low = p_.low, high = p_.high;
    const auto one = [&](float s, auto apply) {
      if (inverse_)
        apply([s](float x) { return x * s; });
      else
        apply([grid = Grid<false>(s, low, high)](float x) { return grid(x); });
    };
    if (axis_ == 1) {
      one(scale[0], [&](auto f) { map_tensor(view_, args.in[0], args.out[0], f); });
      return;
    }
    for (int64_t r = 0; r < view_.stored() / inner_; r++)
      one(scale[r % axis_], [&](auto f) {
        const float* x = args.in[0] + r * inner_;
        float* y = args.out[0] + r * inner_;
        for (int64_t i = 0; i < inner_; i++) y[i] = f(x[i]);
      });
  }

 private:
  View view_;
  trtact_quantize p_;
  bool inverse_;
  int64_t axis_ = 1, inner_ = 1;
  std::vector<float> scale_;
};

}  // namespace

std::unique_ptr<Op> make_quantize(const Desc& d) { return std::make_unique<Quantize>(d, false); }
std::unique_ptr<Op> make_dequantize(const Desc& d) { return std::make_unique<Quantize>(d, true); }

}  // namespace trtact::cpu
