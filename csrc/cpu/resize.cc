// Resize as separable interpolation: for every output index a few source
// indices with weights, per dimension. Nearest is one tap of weight 1, linear
// two, cubic four; the table is made by the caller, who knows ONNX's coordinate
// modes.
#include "op.h"

namespace trtact::cpu {
namespace {

class Resize : public Op {
 public:
  explicit Resize(const Desc& d) : view_(d.out(0)) {
    const auto& p = d.params<trtact_resize>();
    const auto &x = d.in(0), &y = d.out(0);
    require(x.rank == y.rank && x.rank == p.spatial + 2 && x.layout == y.layout &&
                x.dims[0] == y.dims[0] && x.dims[1] == y.dims[1],
            "resize: input and output differ in more than spatial sizes");
    require(p.spatial >= 1 && p.spatial <= 3, "resize: 1 to 3 spatial dimensions");
    // Missing leading dimensions have size 1, so that there are always three.
    for (int i = 0; i < 3; i++) {
      const int s = i - (3 - p.spatial);
      Axis& a = axis_[i];
      if (s < 0) {
        a = {1, 1, 1, {0}, {1.0f}};
        continue;
      }
      a.in = x.dims[2 + s];
      a.out = y.dims[2 + s];
      a.taps = p.taps[s];
      require(a.taps >= 1, "resize: no taps");
      a.index.assign(p.index[s], p.index[s] + a.out * a.taps);
      a.weight.assign(p.weight[s], p.weight[s] + a.out * a.taps);
      for (int32_t k : a.index) require(k >= 0 && k < a.in, "resize: an index leaves the input");
    }
  }

  void run(const Args& args) const override {
    const int64_t lanes = view_.lanes;
    const int64_t in_space = axis_[0].in * axis_[1].in * axis_[2].in;
    const int64_t rows = axis_[0].out * axis_[1].out;
    parallel(view_.n * view_.blocks * rows, std::max<int64_t>(1, kGrain / (axis_[2].out * lanes)),
             [&](int64_t from, int64_t to) {
               for (int64_t r = from; r < to; r++) {
                 const float* x = args.in[0] + (r / rows) * in_space * lanes;
                 float* y = args.out[0] + r * axis_[2].out * lanes;
                 row(x, y, (r % rows) / axis_[1].out, r % axis_[1].out);
               }
             });
  }

 private:
  struct Axis {
    int64_t in = 1, out = 1, taps = 1;
    std::vector<int32_t> index;
    std::vector<float> weight;
  };

  void row(const float* x, float* y, int64_t d, int64_t h) const {
    const int64_t lanes = view_.lanes;
    const Axis &az = axis_[0], &ay = axis_[1], &ax = axis_[2];
    if (az.taps * ay.taps * ax.taps == 1) { // nearest: move
      const float* line = x + (az.index[d] * ay.in + ay.index[h]) * ax.in * lanes;
      for (int64_t w = 0; w < ax.out; w++) {
        const float* source = line + ax.index[w] * lanes;
        if (lanes == 1) {
          y[w] = *source;
          continue;
        }
#pragma omp simd
        for (int64_t l = 0; l < kBlock; l++) y[w * kBlock + l] = source[l];
      }
      return;
    }
    for (int64_t i = 0; i < ax.out * lanes; i++) y[i] = 0;
    for (int64_t tz = 0; tz < az.taps; tz++)
      for (int64_t ty = 0; ty < ay.taps; ty++) {
        const float weight = az.weight[d * az.taps + tz] * ay.weight[h * ay.taps + ty];
        const float* line =
            x + (az.index[d * az.taps + tz] * ay.in + ay.index[h * ay.taps + ty]) * ax.in * lanes;
        for (int64_t w = 0; w < ax.out; w++)
          for (int64_t tx = 0; tx < ax.taps; tx++) {
            const float k = weight * ax.weight[w * ax.taps + tx];
            const float* source = line + ax.index[w * ax.taps + tx] * lanes;
            for (int64_t l = 0; l < lanes; l++) y[w * lanes + l] += k * source[l];
          }
      }
  }

  View view_;
  Axis axis_[3];
};

}  // namespace

std::unique_ptr<Op> make_resize(const Desc& d) { return std::make_unique<Resize>(d); }

}  // namespace trtact::cpu
