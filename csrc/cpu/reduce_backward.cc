// Gradients of softmax and of reductions over one (merged) axis, and the sum of a
// gradient to the shape of an operand that was broadcast.
#include <algorithm>
#include <cmath>

#include "../kernels/activation.h"
#include "each.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

class SoftmaxBackward : public Op {
 public:
  explicit SoftmaxBackward(const Desc& d) {
    const auto& p = d.params<trtact_axis>();
    const auto& t = d.out(0);
    require(t.layout == TRTACT_PLAIN, "softmax backward: tensors must be row-major");
    for (int i = 0; i < 2; i++) require_same(d.in(i), t, "softmax backward: y, dy and dx differ in shape or layout");
    require(p.axis >= 0 && p.axis < t.rank, "softmax backward: axis outside the tensor");
    log_ = p.log != 0;
    for (int i = 0; i < p.axis; i++) outer_ *= t.dims[i];
    axis_ = t.dims[p.axis];
    for (int i = p.axis + 1; i < t.rank; i++) inner_ *= t.dims[i];
  }
  void run(const Args& args) const override {
    parallel(outer_ * inner_, std::max<int64_t>(1, kGrain / axis_), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; i++) {
        const int64_t at = i / inner_ * axis_ * inner_ + i % inner_;
        one(args.in[0] + at, args.in[1] + at, args.out[0] + at);
      }
    });
  }

 private:
  void one(const float* y, const float* dy, float* dx) const {
    const int64_t end = axis_ * inner_;
    double sum = 0;
    for (int64_t k = 0; k < end; k += inner_) sum += log_ ? dy[k] : static_cast<double>(y[k]) * dy[k];
    const float s = static_cast<float>(sum);
    for (int64_t k = 0; k < end; k += inner_)
      dx[k] = log_ ? dy[k] - exp_clamped(y[k]) * s : y[k] * (dy[k] - s);
  }

  bool log_ = false;
  int64_t outer_ = 1, axis_ = 1, inner_ = 1;
};

class ReduceBackward : public Op {
 public:
  explicit ReduceBackward(const Desc& d)
      : p_(d.params<trtact_reduce>()), with_x_(p_.kind != TRTACT_REDUCE_MEAN && p_.kind != TRTACT_REDUCE_SUM) {
    require(p_.kind == TRTACT_REDUCE_MEAN || p_.kind == TRTACT_REDUCE_SUM || p_.kind == TRTACT_REDUCE_MAX ||
                p_.kind == TRTACT_REDUCE_MIN || p_.kind == TRTACT_REDUCE_L2,
            "reduce backward: mean, sum, max, min or L2");
    const auto& dy = d.in(with_x_ ? 1 : 0);
    require(dy.layout == TRTACT_PLAIN && d.out(0).layout == TRTACT_PLAIN, "reduce backward: tensors must be row-major");
    require(p_.outer > 0 && p_.axis > 0 && p_.inner > 0 &&
                p_.outer * p_.axis * p_.inner == elements(d.out(0)) && p_.outer * p_.inner == elements(dy) &&
                (!with_x_ || elements(d.in(0)) == elements(d.out(0))),
            "reduce backward: sizes do not match");
  }
  void run(const Args& args) const override {
    parallel(p_.outer * p_.inner, std::max<int64_t>(1, kGrain / p_.axis), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; i++) {
        const int64_t at = i / p_.inner * p_.axis * p_.inner + i % p_.inner;
        one(with_x_ ? args.in[0] + at : nullptr, args.in[with_x_ ? 1 : 0][i], args.out[0] + at);
      }
    });
  }

 private:
  void one(const float* x, float dy, float* dx) const {
    const int64_t n = p_.axis, step = p_.inner;
    switch (p_.kind) {
      case TRTACT_REDUCE_MEAN:
      case TRTACT_REDUCE_SUM: {
        const float g = p_.kind == TRTACT_REDUCE_MEAN ? dy / static_cast<float>(n) : dy;
        for (int64_t i = 0; i < n; i++) dx[i * step] = g;
        return;
      }
      case TRTACT_REDUCE_L2: {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += static_cast<double>(x[i * step]) * x[i * step];
        const float k = sum > 0 ? static_cast<float>(dy / std::sqrt(sum)) : 0.0f;
        for (int64_t i = 0; i < n; i++) dx[i * step] = k * x[i * step];
        return;
      }
    }
    const float sign = p_.kind == TRTACT_REDUCE_MAX ? 1.0f : -1.0f;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
      dx[i * step] = 0;
      if (sign * x[i * step] > sign * x[at * step]) at = i;
    }
    dx[at * step] = dy;
  }

  trtact_reduce p_;
  bool with_x_;
};

class SumTo : public Op {
 public:
  explicit SumTo(const Desc& d) : in_(d.in(0)), out_(d.out(0)), product_(d.raw.n_inputs > 1) {
    const auto &x = d.in(0), &y = d.out(0);
    if (product_) require_same(d.in(1), x, "sum to: dy and its factor differ in shape or layout");
    size_ = elements(y);
    if (size_ == 1) {
      mode_ = kAll;
      workspace_bytes = bytes_of_sums(pieces_of(in_));
      return;
    }
    require(y.rank <= x.rank, "sum to: the output outranks dy");
    for (int o = y.rank - 1, i = x.rank - 1; o >= 0; o--, i--)
      require(y.dims[o] == x.dims[i] || y.dims[o] == 1, "sum to: an output dimension is neither 1 nor that of dy");
    if (!in_.blocked) {
      require(y.layout == TRTACT_PLAIN, "sum to: layouts differ");
      mode_ = kPlain;
      plan(x, y);
      return;
    }
    mode_ = kChannels;
    require(y.rank >= x.rank - 1 && (y.layout == TRTACT_PLAIN || (y.rank == x.rank && y.dims[0] == x.dims[0] && y.dims[1] == x.dims[1])),
            "sum to: a blocked dy needs a row-major output or one value per image and channel");
    const int lead = y.rank - (x.rank - 2); // dimensions before space: 2 or 1
    for (int o = lead; o < y.rank; o++) require(y.dims[o] == 1, "sum to: a blocked dy is summed over all of space");
    keep_n_ = lead == 2 && y.dims[0] == x.dims[0];
    keep_c_ = y.dims[lead - 1] == x.dims[1];
    workspace_bytes = bytes_of_sums(in_.n * in_.blocks * in_.lanes) + aligned_doubles();
  }

  void run(const Args& args) const override {
    const float *x = args.in[0], *other = product_ ? args.in[1] : nullptr;
    const auto value = [=](int64_t i) TRTACT_INLINE {
      return other ? static_cast<double>(x[i]) * other[i] : static_cast<double>(x[i]);
    };
    if (mode_ == kAll) {
      const Two sum = sum_elements(in_, reinterpret_cast<Two*>(args.workspace),
                                   [=](int64_t i, bool real) TRTACT_INLINE { return Two{real ? value(i) : 0, 0}; });
      args.out[0][0] = static_cast<float>(sum.a);
      for (int64_t l = 1; l < out_.stored(); l++) args.out[0][l] = 0;
    } else if (mode_ == kChannels) {
      channels(args, value);
    } else {
      plain(args.out[0], value);
    }
  }

 private:
  enum Mode { kAll, kChannels, kPlain };
  size_t aligned_doubles() const { return bytes_of_sums(size_); }

  template <class F>
  void channels(const Args& args, const F& value) const {
    Two* part = reinterpret_cast<Two*>(args.workspace);
    sum_space(in_, part, [=](int64_t i, int64_t, int64_t) TRTACT_INLINE { return Two{value(i), 0}; });
    if (out_.blocked) { // one value per image and channel: the same order
      for (int64_t i = 0; i < out_.stored(); i++) args.out[0][i] = static_cast<float>(part[i].a);
      return;
    }
    double* sum = reinterpret_cast<double*>(args.workspace + bytes_of_sums(in_.n * in_.blocks * in_.lanes));
    std::fill(sum, sum + size_, 0.0);
    for (int64_t n = 0; n < in_.n; n++)
      for (int64_t c = 0; c < in_.c; c++)
        sum[(keep_n_ ? n * (keep_c_ ? in_.c : 1) : 0) + (keep_c_ ? c : 0)] +=
            part[(n * in_.blocks + c / in_.lanes) * in_.lanes + c % in_.lanes].a;
    for (int64_t i = 0; i < size_; i++) args.out[0][i] = static_cast<float>(sum[i]);
  }

  // Dimensions of dy, those of equal fate merged: kept (outer to inner) and summed.
  struct Dims {
    std::vector<int64_t> size, stride;
    int64_t count() const {
      int64_t n = 1;
      for (int64_t s : size) n *= s;
      return n;
    }
    int64_t offset(int64_t i) const {
      int64_t at = 0;
      for (int k = static_cast<int>(size.size()) - 1; k >= 0; k--) {
        at += i % size[k] * stride[k];
        i /= size[k];
      }
      return at;
    }
  };

  void plan(const trtact_tensor& x, const trtact_tensor& y) {
    int64_t step = elements(x);
    int before = -1;
    for (int i = 0; i < x.rank; i++) {
      const int64_t n = x.dims[i];
      step /= n;
      if (n == 1) continue;
      const int o = i - (x.rank - y.rank);
      const int kept = o >= 0 && y.dims[o] == n;
      Dims& d = kept ? kept_ : summed_;
      if (before == kept) {
        d.size.back() *= n;
        d.stride.back() = step;
      } else {
        d.size.push_back(n);
        d.stride.push_back(step);
      }
      before = kept;
    }
    inner_kept_ = before == 1;
  }

  template <class F>
  void plain(float* out, const F& value) const {
    if (!inner_kept_) { // rows are summed
      Dims outer = summed_;
      const int64_t row = outer.size.back();
      outer.size.pop_back();
      outer.stride.pop_back();
      const int64_t rows = outer.count();
      parallel(size_, std::max<int64_t>(1, kGrain / (rows * row)), [&](int64_t from, int64_t to) {
        for (int64_t k = from; k < to; k++) {
          double sum = 0;
          for (int64_t r = 0; r < rows; r++) {
            const int64_t first = kept_.offset(k) + outer.offset(r);
#pragma omp simd reduction(+ : sum)
            for (int64_t i = first; i < first + row; i++) sum += value(i);
          }
          out[k] = static_cast<float>(sum);
        }
      });
      return;
    }
    // Rows are kept: columns of them, summed side by side.
    constexpr int64_t kColumns = 64;
    Dims outer = kept_;
    const int64_t row = outer.size.back(), strips = (row + kColumns - 1) / kColumns;
    outer.size.pop_back();
    outer.stride.pop_back();
    const int64_t rows = summed_.count();
    parallel(outer.count() * strips, std::max<int64_t>(1, kGrain / (rows * kColumns)), [&](int64_t from, int64_t to) {
      for (int64_t job = from; job < to; job++) {
        const int64_t left = job % strips * kColumns, width = std::min(kColumns, row - left);
        const int64_t start = outer.offset(job / strips) + left;
        double sum[kColumns] = {};
        for (int64_t r = 0; r < rows; r++) {
          const int64_t first = start + summed_.offset(r);
#pragma omp simd
          for (int64_t i = 0; i < width; i++) sum[i] += value(first + i);
        }
        for (int64_t i = 0; i < width; i++) out[job / strips * row + left + i] = static_cast<float>(sum[i]);
      }
    });
  }

  View in_, out_;
  bool product_;
  int64_t size_ = 1;
  Mode mode_ = kAll;
  bool keep_n_ = false, keep_c_ = false, inner_kept_ = false;
  Dims kept_, summed_;
};

}  // namespace

std::unique_ptr<Op> make_softmax_backward(const Desc& d) { return std::make_unique<SoftmaxBackward>(d); }
std::unique_ptr<Op> make_reduce_backward(const Desc& d) { return std::make_unique<ReduceBackward>(d); }
std::unique_ptr<Op> make_sum_to(const Desc& d) { return std::make_unique<SumTo>(d); }

}  // namespace trtact::cpu
