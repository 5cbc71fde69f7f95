// Gradients of convolution and transposed convolution, by cuDNN. A scale per output
// channel goes to the weights before, or to their gradient after, never over a tensor.
#include <algorithm>

#include "convolution.h"
#include "reduce.h"

namespace trtact::cuda {
namespace {

// to[i] = from[i] * scale[output channel of i], over weights as the graph holds them:
// [O][C/g][k], transposed [C][O/g][k].
struct ScaleWeights {
  const float* from;
  const float* scale;
  float* to;
  uint32_t spatial, b, group; // b: the second dimension; group: rows of a group, 0 when not transposed
  TRTACT_HD float load(uint32_t i) const { return from[i]; }
  TRTACT_HD void store(uint32_t i, float v) const {
    const uint32_t r = i / spatial;
    to[i] = v * scale[group ? r / b / group * b + r % b : r / b];
  }
};

class WeightScaling {
 public:
  WeightScaling(const trtact_conv& p, const trtact_tensor& w, bool transposed)
      : size_(elements(w)), b_(w.dims[1]), group_(transposed ? w.dims[0] / p.groups : 0) {
    for (int i = 2; i < w.rank; i++) spatial_ *= w.dims[i];
  }
  size_t bytes() const { return aligned(static_cast<size_t>(size_) * sizeof(float)); }
  void run(const Args& args, const float* from, const float* scale, float* to) const {
    TRTACT_MAP(args.lane.stream, size_,
               ScaleWeights{from, scale, to, static_cast<uint32_t>(spatial_), static_cast<uint32_t>(b_),
                            static_cast<uint32_t>(group_)});
  }

 private:
  int64_t size_, b_, group_, spatial_ = 1;
};

class BackwardData : public Op {
 public:
  BackwardData(const Desc& d, bool transposed)
      : p_(d.params<trtact_conv>()), transposed_(transposed), scaling_(p_, d.in(1), transposed), w_(d, 1),
        convolution_(d.device, p_, transposed ? d.in(0) : d.out(0), d.in(1), transposed ? d.out(0) : d.in(0),
                     transposed ? Convolution::kForward : Convolution::kData, d.raw.math) {
    if (p_.has_scale) {
      require(elements(d.in(2)) == d.in(0).dims[1], "convolution: one scale per channel");
      scale_ = Input(d, 2);
      at_rest_ = scaling_.bytes();
    }
    workspace_bytes = at_rest_ + convolution_.workspace_bytes();
    info = convolution_.info();
  }
  void run(const Args& args) const override {
    const float* w = w_.of(args);
    if (p_.has_scale) {
      float* scaled = reinterpret_cast<float*>(args.workspace);
      scaling_.run(args, w, scale_.of(args), scaled);
      w = scaled;
    }
    if (transposed_)
      convolution_.forward(args.lane, args.in[0], w, args.out[0], args.workspace + at_rest_);
    else
      convolution_.data(args.lane, args.in[0], w, args.out[0], args.workspace + at_rest_);
  }

 private:
  trtact_conv p_;
  bool transposed_;
  WeightScaling scaling_;
  Input w_, scale_;
  Convolution convolution_;
  size_t at_rest_ = 0;
};

// The sum of a channel of dy.
struct ChannelValue {
  const float* dy;
  uint32_t channels, space;
  TRTACT_HD float load(uint32_t c, uint32_t i) const {
    return dy[(static_cast<size_t>(i / space) * channels + c) * space + i % space];
  }
};
struct StoreBias {
  float* dbias;
  TRTACT_HD void operator()(uint32_t c, double sum) const { dbias[c] = static_cast<float>(sum); }
};

class BackwardWeights : public Op {
 public:
  BackwardWeights(const Desc& d, bool transposed)
      : p_(d.params<trtact_conv>()), transposed_(transposed), dy_(d.in(1)), scaling_(p_, d.out(0), transposed),
        convolution_(d.device, p_, transposed ? d.in(1) : d.in(0), d.out(0), transposed ? d.in(0) : d.in(1),
                     Convolution::kWeights, d.raw.math) {
    if (p_.has_scale) {
      require(elements(d.in(2)) == dy_.c, "convolution: one scale per channel");
      scale_ = Input(d, 2);
    }
    if (p_.has_bias) require(elements(d.out(1)) == dy_.c, "convolution: one bias per channel");
    workspace_bytes = convolution_.workspace_bytes();
    if (p_.has_bias) workspace_bytes = std::max(workspace_bytes, bytes_of_planes<Add>(dy_.c, dy_.n * dy_.space));
    info = convolution_.info();
  }
  void run(const Args& args) const override {
    const float *x = args.in[0], *dy = args.in[1];
    float* dw = args.out[0];
    convolution_.weights(args.lane, transposed_ ? dy : x, transposed_ ? x : dy, dw, args.workspace);
    if (p_.has_scale) scaling_.run(args, dw, scale_.of(args), dw);
    if (p_.has_bias)
      reduce_planes<Add>(TRTACT_PLACE(bias_gradient), args.lane.stream, dy_.c, dy_.n * dy_.space, args.workspace,
                            ChannelValue{dy, static_cast<uint32_t>(dy_.c), static_cast<uint32_t>(dy_.space)},
                            StoreBias{args.out[1]});
  }

 private:
  trtact_conv p_;
  bool transposed_;
  View dy_;
  WeightScaling scaling_;
  Input scale_;
  Convolution convolution_;
};

}  // namespace

std::unique_ptr<Op> make_conv_backward_data(const Desc& d) { return std::make_unique<BackwardData>(d, false); }
std::unique_ptr<Op> make_conv_transpose_backward_data(const Desc& d) { return std::make_unique<BackwardData>(d, true); }
std::unique_ptr<Op> make_conv_backward_weights(const Desc& d) { return std::make_unique<BackwardWeights>(d, false); }
std::unique_ptr<Op> make_conv_transpose_backward_weights(const Desc& d) {
  return std::make_unique<BackwardWeights>(d, true);
}

}  // namespace trtact::cuda
