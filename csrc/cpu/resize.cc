// Resize as separable interpolation: for every output index a few source
// indices with weights, per dimension. Nearest is one tap of weight 1, linear
// two, cubic four; the table is made by the caller, who knows ONNX's coordinate
// modes. The gradient goes the same ways back.
#include <algorithm>

#include "trtact/training.h"
#include "op.h"

namespace trtact::cpu {
namespace {

struct Axis {
  int64_t in = 1, out = 1, taps = 1;
  std::vector<int32_t> index;
  std::vector<float> weight;
};

// x is what the forward pass reads, y what it writes. Missing leading dimensions
// have size 1, so that there are always three.
void read_axes(const trtact_resize& p, const trtact_tensor& x, const trtact_tensor& y, Axis (&axis)[3]) {
  require(x.rank == y.rank && x.rank == p.spatial + 2 && x.layout == y.layout &&
              x.dims[0] == y.dims[0] && x.dims[1] == y.dims[1],
          "resize: input and output differ in more than spatial sizes");
  require(p.spatial >= 1 && p.spatial <= 3, "resize: 1 to 3 spatial dimensions");
  for (int i = 0; i < 3; i++) {
    const int s = i - (3 - p.spatial);
    Axis& a = axis[i];
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

class Resize : public Op {
 public:
  explicit Resize(const Desc& d) : view_(d.out(0)) {
    read_axes(d.params<trtact_resize>(), d.in(0), d.out(0), axis_);
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

// A plane (image and channel block) belongs to one thread.
class ResizeBackward : public Op {
 public:
  explicit ResizeBackward(const Desc& d) : view_(d.out(0)) {
    read_axes(d.params<trtact_resize>(), d.out(0), d.in(0), axis_);
  }
  void run(const Args& args) const override {
    const int64_t in = axis_[0].in * axis_[1].in * axis_[2].in * view_.lanes;
    const int64_t out = axis_[0].out * axis_[1].out * axis_[2].out * view_.lanes;
    parallel(view_.n * view_.blocks, std::max<int64_t>(1, kGrain / out), [&](int64_t from, int64_t to) {
      for (int64_t nb = from; nb < to; nb++) {
        float* dx = args.out[0] + nb * in;
        std::fill(dx, dx + in, 0.0f);
        view_.blocked ? plane<kBlock>(args.in[0] + nb * out, dx) : plane<1>(args.in[0] + nb * out, dx);
      }
    });
  }

 private:
  template <int64_t kLanes>
  void plane(const float* dy, float* dx) const {
    const Axis &az = axis_[0], &ay = axis_[1], &ax = axis_[2];
    for (int64_t z = 0; z < az.out * az.taps; z++)
      for (int64_t y = 0; y < ay.out * ay.taps; y++) {
        const float weight = az.weight[z] * ay.weight[y];
        const float* from = dy + (z / az.taps * ay.out + y / ay.taps) * ax.out * kLanes;
        float* line = dx + (az.index[z] * ay.in + ay.index[y]) * ax.in * kLanes;
        for (int64_t x = 0; x < ax.out * ax.taps; x++) {
          const float k = weight * ax.weight[x];
          const float* source = from + x / ax.taps * kLanes;
          float* target = line + ax.index[x] * kLanes;
#pragma omp simd
          for (int64_t l = 0; l < kLanes; l++) target[l] += k * source[l];
        }
      }
  }

  View view_;
  Axis axis_[3];
};

}  // namespace

std::unique_ptr<Op> make_resize(const Desc& d) { return std::make_unique<Resize>(d); }
std::unique_ptr<Op> make_resize_backward(const Desc& d) { return std::make_unique<ResizeBackward>(d); }

}  // namespace trtact::cpu
