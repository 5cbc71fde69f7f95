// QuantizeLinear and DequantizeLinear with the integers kept as floats. Bound by
// memory bandwidth.
#include "../kernels/quantize.h"

#include "launch.h"
#include "op.h"

namespace trtact::cuda {
namespace {

struct Scales {
  const float* scale;
  uint32_t axis, inner;
  TRTACT_HD float of(uint32_t i) const { return scale[i / inner % axis]; }
};

// With one scale for all, which is divided by once.
struct ToGrid {
  const float* x;
  float* y;
  Scales scales;
  float low, high;

  struct Opened {
    const ToGrid& p;
    Grid<false> grid;
    TRTACT_HD float load(uint32_t i) const { return p.x[i]; }
    TRTACT_HD void store(uint32_t i, float v) const {
      p.y[i] = p.scales.axis == 1 ? grid(v) : Grid<false>(p.scales.of(i), p.low, p.high)(v);
    }
  };
  TRTACT_HD Opened opened() const { return {*this, Grid<false>(scales.of(0), low, high)}; }
};

struct FromGrid {
  const float* x;
  float* y;
  Scales scales;
  TRTACT_HD float load(uint32_t i) const { return x[i]; }
  TRTACT_HD void store(uint32_t i, float v) const { y[i] = v * (scales.axis == 1 ? scales.scale[0] : scales.of(i)); }
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
    const Scales scales{scale_.of(args), static_cast<uint32_t>(axis_), static_cast<uint32_t>(inner_)};
    if (inverse_)
      TRTACT_MAP(args.lane.stream, size_, FromGrid{args.in[0], args.out[0], scales});
    else
      TRTACT_MAP(args.lane.stream, size_, ToGrid{args.in[0], args.out[0], scales, p_.low, p_.high});
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
