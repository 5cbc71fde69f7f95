// Gradients of pooling. A plane (image and channel block) belongs to one thread,
// so that windows which overlap can add to it without a race.
#include <algorithm>

#include "../kernels/window.h"
#include "each.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

class PoolBackward : public Op {
 public:
  explicit PoolBackward(const Desc& d) : p_(d.params<trtact_pool>()), view_(d.out(0)) {
    const bool max = p_.kind == TRTACT_POOL_MAX;
    const auto &dy = d.in(max ? 1 : 0), &dx = d.out(0);
    require_window(p_.spatial, p_.kernel, p_.stride, p_.dilation);
    require(p_.kind >= TRTACT_POOL_MAX && p_.kind <= TRTACT_POOL_AVERAGE_WITH_PADDING, "pooling backward: unknown kind");
    require(dx.rank == p_.spatial + 2 && dy.rank == dx.rank && dy.layout == dx.layout &&
                dy.dims[0] == dx.dims[0] && dy.dims[1] == dx.dims[1],
            "pooling backward: dx and dy differ in more than spatial sizes");
    if (max) require_same(d.in(0), dx, "pooling backward: x and dx differ in shape or layout");
    // Missing leading dimensions have size 1, so that there are always three.
    for (int i = 0; i < p_.spatial; i++) {
      Axis& a = axis_[3 - p_.spatial + i];
      a = {dx.dims[2 + i], dy.dims[2 + i], p_.kernel[i], p_.stride[i], p_.dilation[i], p_.pad_begin[i], {}, {}};
    }
    for (Axis& a : axis_) {
      const auto i32 = [](int64_t v) { return static_cast<int32_t>(v); };
      const WindowAxis w{i32(a.in), i32(a.out), i32(a.kernel), i32(a.stride), i32(a.dilation), i32(a.pad)};
      for (int32_t o = 0; o < w.out; o++) {
        a.first.push_back(w.first(o));
        a.last.push_back(w.last(o));
        require(a.first[o] < a.last[o], "pooling backward: a window lies in the padding alone");
      }
    }
  }
  void run(const Args& args) const override {
    const int64_t in = axis_[0].in * axis_[1].in * axis_[2].in * view_.lanes;
    const int64_t out = axis_[0].out * axis_[1].out * axis_[2].out * view_.lanes;
    const bool max = p_.kind == TRTACT_POOL_MAX;
    parallel(view_.n * view_.blocks, std::max<int64_t>(1, kGrain / in), [&](int64_t from, int64_t to) {
      for (int64_t nb = from; nb < to; nb++) {
        float* dx = args.out[0] + nb * in;
        const float* dy = args.in[max ? 1 : 0] + nb * out;
        std::fill(dx, dx + in, 0.0f);
        if (max) {
          const float* x = args.in[0] + nb * in;
          view_.blocked ? greatest_of<kBlock>(x, dy, dx) : greatest_of<1>(x, dy, dx);
        } else {
          view_.blocked ? average<kBlock>(dy, dx) : average<1>(dy, dx);
        }
      }
    });
  }

 private:
  struct Axis {
    int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad = 0;
    std::vector<int64_t> first{}, last{}; // of the taps of each window that lie inside
    int64_t index(int64_t o, int64_t tap) const { return o * stride - pad + tap * dilation; }
  };

  // f(output position, its three indices)
  template <class F>
  void each_window(const F& f) const {
    int64_t o = 0;
    for (int64_t z = 0; z < axis_[0].out; z++)
      for (int64_t y = 0; y < axis_[1].out; y++)
        for (int64_t x = 0; x < axis_[2].out; x++) f(o++, z, y, x);
  }
  // f(input position) for every tap of a window that lies inside
  template <class F>
  void each_tap(int64_t z, int64_t y, int64_t x, const F& f) const {
    const Axis &az = axis_[0], &ay = axis_[1], &ax = axis_[2];
    const int64_t left = ax.index(x, ax.first[x]), right = ax.index(x, ax.last[x]);
    for (int64_t i = az.first[z]; i < az.last[z]; i++)
      for (int64_t j = ay.first[y], end = ay.last[y]; j < end; j++) {
        const int64_t row = (az.index(z, i) * ay.in + ay.index(y, j)) * ax.in;
        for (int64_t k = left; k < right; k += ax.dilation) f(row + k);
      }
  }

  template <int64_t kLanes>
  void greatest_of(const float* x, const float* dy, float* dx) const {
    each_window([&](int64_t o, int64_t z, int64_t y, int64_t w) TRTACT_INLINE {
      float top[kLanes];
      int32_t at[kLanes];
      const int64_t start = (axis_[0].index(z, axis_[0].first[z]) * axis_[1].in +
                             axis_[1].index(y, axis_[1].first[y])) * axis_[2].in +
                            axis_[2].index(w, axis_[2].first[w]);
      for (int64_t l = 0; l < kLanes; l++) {
        top[l] = x[start * kLanes + l];
        at[l] = static_cast<int32_t>(start);
      }
      each_tap(z, y, w, [&](int64_t i) TRTACT_INLINE {
        const float* xs = x + i * kLanes;
        const int32_t here = static_cast<int32_t>(i);
#pragma omp simd
        for (int64_t l = 0; l < kLanes; l++) {
          const bool more = xs[l] > top[l] || xs[l] != xs[l];
          at[l] = more ? here : at[l];
          top[l] = more ? xs[l] : top[l];
        }
      });
      for (int64_t l = 0; l < kLanes; l++) dx[at[l] * kLanes + l] += dy[o * kLanes + l];
    });
  }

  template <int64_t kLanes>
  void average(const float* dy, float* dx) const {
    const int64_t all = axis_[0].kernel * axis_[1].kernel * axis_[2].kernel;
    each_window([&](int64_t o, int64_t z, int64_t y, int64_t w) TRTACT_INLINE {
      int64_t count = all;
      if (p_.kind == TRTACT_POOL_AVERAGE)
        count = (axis_[0].last[z] - axis_[0].first[z]) * (axis_[1].last[y] - axis_[1].first[y]) *
                (axis_[2].last[w] - axis_[2].first[w]);
      const float share = 1.0f / static_cast<float>(count);
      float g[kLanes];
      for (int64_t l = 0; l < kLanes; l++) g[l] = dy[o * kLanes + l] * share;
      each_tap(z, y, w, [&](int64_t i) TRTACT_INLINE {
#pragma omp simd
        for (int64_t l = 0; l < kLanes; l++) dx[i * kLanes + l] += g[l];
      });
    });
  }

  trtact_pool p_;
  View view_;
  Axis axis_[3];
};

class GlobalPoolBackward : public Op {
 public:
  explicit GlobalPoolBackward(const Desc& d) : view_(d.out(0)), kind_(d.params<trtact_reduce>().kind) {
    require(kind_ == TRTACT_REDUCE_MEAN || kind_ == TRTACT_REDUCE_MAX, "global pooling backward: mean or max");
    const auto& dy = d.in(kind_ == TRTACT_REDUCE_MAX ? 1 : 0);
    require(dy.layout == d.out(0).layout && View(dy).space == 1 && View(dy).n == view_.n && View(dy).c == view_.c,
            "global pooling backward: dy must be one value per channel in the layout of dx");
    if (kind_ == TRTACT_REDUCE_MAX)
      require_same(d.in(0), d.out(0), "global pooling backward: x and dx differ in shape or layout");
  }
  void run(const Args& args) const override {
    const int64_t lanes = view_.lanes, size = view_.space * lanes;
    parallel(view_.n * view_.blocks, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
      for (int64_t nb = from; nb < to; nb++) {
        const float* dy = args.in[kind_ == TRTACT_REDUCE_MAX ? 1 : 0] + nb * lanes;
        float* dx = args.out[0] + nb * size;
        if (kind_ == TRTACT_REDUCE_MEAN) {
          for (int64_t s = 0; s < view_.space; s++)
            for (int64_t l = 0; l < lanes; l++) dx[s * lanes + l] = dy[l] / static_cast<float>(view_.space);
          continue;
        }
        const float* x = args.in[0] + nb * size;
        std::fill(dx, dx + size, 0.0f);
        for (int64_t l = 0; l < lanes; l++) {
          int64_t at = l;
          for (int64_t i = l; i < size; i += lanes)
            if (x[i] > x[at] || x[i] != x[i]) at = i;
          dx[at] = dy[l];
        }
      }
    });
  }

 private:
  View view_;
  int32_t kind_;
};

}  // namespace

std::unique_ptr<Op> make_pool_backward(const Desc& d) { return std::make_unique<PoolBackward>(d); }
std::unique_ptr<Op> make_global_pool_backward(const Desc& d) { return std::make_unique<GlobalPoolBackward>(d); }

}  // namespace trtact::cpu
