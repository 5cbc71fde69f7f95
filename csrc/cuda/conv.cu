// Convolution and transposed convolution, by cuDNN; what follows in the graph (bias,
// scale, activation, grid) is one pass of our own (epilogue.h).
#include "convolution.h"
#include "epilogue.h"

namespace trtact::cuda {
namespace {

// Integers are exact in TF32. Results in BF16 would be rounded, and the loss is measured on
// some of them.
int32_t forward_math(const trtact_conv& p, int32_t math) {
  return p.integers || math != TRTACT_MATH_FP32 ? TRTACT_MATH_TF32 : TRTACT_MATH_FP32;
}

class Conv : public Op {
 public:
  Conv(const Desc& d, bool transposed)
      : p_(d.params<trtact_conv>()), transposed_(transposed), out_(d.out(0)), w_(d, 1),
        convolution_(d.device, p_, transposed ? d.out(0) : d.in(0), d.in(1), transposed ? d.in(0) : d.out(0),
                     transposed ? Convolution::kData : Convolution::kForward, forward_math(p_, d.raw.math)) {
    if (p_.has_bias) {
      require(elements(d.in(2)) == out_.c, "convolution: one bias per channel");
      bias_ = Input(d, 2);
    }
    if (p_.has_scale) {
      require(elements(d.in(3)) == out_.c, "convolution: one scale per channel");
      scale_ = Input(d, 3);
    }
    workspace_bytes = convolution_.workspace_bytes();
    info = convolution_.info();
  }
  void run(const Args& args) const override {
    float* y = args.out[0];
    if (transposed_)
      convolution_.data(args.lane, args.in[0], w_.of(args), y, args.workspace);
    else
      convolution_.forward(args.lane, args.in[0], w_.of(args), y, args.workspace);
    finish_channels(args.lane.stream, out_, y,
                    {p_.has_scale ? scale_.of(args) : nullptr, p_.has_bias ? bias_.of(args) : nullptr, p_.act, p_.quantize});
  }

 private:
  trtact_conv p_;
  bool transposed_;
  View out_;
  Input w_, bias_, scale_;
  Convolution convolution_;
};

}  // namespace

std::unique_ptr<Op> make_conv(const Desc& d) { return std::make_unique<Conv>(d, false); }
std::unique_ptr<Op> make_conv_transpose(const Desc& d) { return std::make_unique<Conv>(d, true); }

}  // namespace trtact::cuda
