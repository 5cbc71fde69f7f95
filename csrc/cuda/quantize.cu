// QuantizeLinear and DequantizeLinear with the integers kept as floats. Bound by
// memory bandwidth.
#include "../kernels/quantize.h"

#include "launch.h"
#include "op.h"

namespace trtact::cuda {
namespace {

struct OnGrid {
  const float *x, *scale;
  float* y;
  uint32_t axis, inner; // scale[i / inner % axis]
  float low, high;
  bool inverse;
  TRTACT_HD float load(uint32_t i) const { return x[i]; }
  TRTACT_HD void store(uint32_t i, float v) const {
    const float s = scale[axis == 1 ? 0 : i / inner % axis];
    y[i] = inverse ? v * s : quantize(v, s, low, high);
  }
};

class Quantize : public Op {
 public:
  Quantize(const Desc& d, bool inverse)
      : size_(elements(d.out(0))), p_(d.params<trtact_quantize>()), inverse_(inverse), scale_(d, 1) {
    const auto &x = d.in(0), &s = d.in(1);
    require_same(x, d.out(0), "quantize: input and output differ in shape or layout");
    if (elements(s) == 1) return;
    require(p_.axis >= 0 && p_.axis < x.rank && elements(s) == x.dims[p_.axis],
            "quantize: the number of scales is not the axis's size");
    axis_ = x.dims[p_.axis];
    for (int i = p_.axis + 1; i < x.rank; i++) inner_ *= x.dims[i];
  }
  void run(const Args& args) const override {
    TRTACT_MAP(args.lane.stream, size_,
               OnGrid{args.in[0], scale_.of(args), args.out[0], static_cast<uint32_t>(axis_),
                      static_cast<uint32_t>(inner_), p_.low, p_.high, inverse_});
  }

 private:
  int64_t size_;
  trtact_quantize p_;
  bool inverse_;
  Input scale_;
  int64_t axis_ = 1, inner_ = 1;
};

}  // namespace

std::unique_ptr<Op> make_quantize(const Desc& d) { return std::make_unique<Quantize>(d, false); }
std::unique_ptr<Op> make_dequantize(const Desc& d) { return std::make_unique<Quantize>(d, true); }

}  // namespace trtact::cuda
