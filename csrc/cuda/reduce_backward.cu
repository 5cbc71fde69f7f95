// Gradients of softmax and of reductions over one (merged) axis, and the sum of a
// gradient to the shape of an operand that was broadcast. Bound by memory bandwidth.
#include "../kernels/activation.h"
#include "op.h"
#include "rows.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

struct SoftmaxGradient {
  const float *y, *dy;
  float* dx;
  RowShape shape;
  bool log;

  template <class Team>
  __device__ void operator()(uint32_t r, Team team) const {
    const size_t first = shape.first(r);
    double sum = 0;
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      sum += log ? dy[at] : static_cast<double>(y[at]) * dy[at];
    }
    const float s = static_cast<float>(team.reduce(sum, Add{}));
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      dx[at] = log ? dy[at] - exp_clamped(y[at]) * s : y[at] * (dy[at] - s);
    }
  }
};

class SoftmaxBackward : public Op {
 public:
  explicit SoftmaxBackward(const Desc& d) : log_(d.params<trtact_axis>().log != 0) {
    const auto& t = d.out(0);
    const int32_t axis = d.params<trtact_axis>().axis;
    for (int i = 0; i < 2; i++) require_same(d.in(i), t, "softmax backward: y, dy and dx differ in shape or layout");
    require(axis >= 0 && axis < t.rank, "softmax backward: axis outside the tensor");
    shape_ = rows_along(t, axis);
  }
  void run(const Args& args) const override {
    each_row(TRTACT_PLACE(softmax_gradient), args.lane.stream, shape_,
             SoftmaxGradient{args.in[0], args.in[1], args.out[0], shape_, log_});
  }

 private:
  bool log_;
  RowShape shape_;
};

struct Extreme {
  float value; // signed so that the greatest is wanted
  uint32_t at;
};
struct MoreExtreme {
  using Value = Extreme;
  TRTACT_HD Extreme zero() const { return {-INFINITY, 0xffffffffu}; }
  TRTACT_HD Extreme operator()(Extreme a, Extreme b) const {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
  }
};

struct ReduceGradient {
  const float *x, *dy;
  float* dx;
  RowShape shape;
  int32_t kind;

  template <class Team>
  __device__ void operator()(uint32_t r, Team team) const {
    const size_t first = shape.first(r);
    const float g = dy[r];
    if (kind == TRTACT_REDUCE_MEAN || kind == TRTACT_REDUCE_SUM) {
      const float share = kind == TRTACT_REDUCE_MEAN ? g / static_cast<float>(shape.length) : g;
      for (uint32_t i = team.rank(); i < shape.length; i += team.size()) dx[first + static_cast<size_t>(i) * shape.inner] = share;
      return;
    }
    if (kind == TRTACT_REDUCE_L2) {
      double sum = 0;
      for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
        const double v = x[first + static_cast<size_t>(i) * shape.inner];
        sum += v * v;
      }
      sum = team.reduce(sum, Add{});
      const float k = sum > 0 ? static_cast<float>(g / sqrt(sum)) : 0.0f;
      for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
        const size_t at = first + static_cast<size_t>(i) * shape.inner;
        dx[at] = k * x[at];
      }
      return;
    }
    const float sign = kind == TRTACT_REDUCE_MAX ? 1.0f : -1.0f;
    MoreExtreme more;
    Extreme e = more.zero();
    for (uint32_t i = team.rank(); i < shape.length; i += team.size())
      e = more(e, {sign * x[first + static_cast<size_t>(i) * shape.inner], i});
    e = team.reduce(e, more);
    for (uint32_t i = team.rank(); i < shape.length; i += team.size())
      dx[first + static_cast<size_t>(i) * shape.inner] = i == e.at ? g : 0.0f;
  }
};

class ReduceBackward : public Op {
 public:
  explicit ReduceBackward(const Desc& d)
      : p_(d.params<trtact_reduce>()), with_x_(p_.kind != TRTACT_REDUCE_MEAN && p_.kind != TRTACT_REDUCE_SUM) {
    require(p_.kind == TRTACT_REDUCE_MEAN || p_.kind == TRTACT_REDUCE_SUM || p_.kind == TRTACT_REDUCE_MAX ||
                p_.kind == TRTACT_REDUCE_MIN || p_.kind == TRTACT_REDUCE_L2,
            "reduce backward: mean, sum, max, min or L2");
    require(p_.outer > 0 && p_.axis > 0 && p_.inner > 0 && p_.outer * p_.axis * p_.inner == elements(d.out(0)) &&
                p_.outer * p_.inner == elements(d.in(with_x_ ? 1 : 0)) &&
                (!with_x_ || elements(d.in(0)) == elements(d.out(0))),
            "reduce backward: sizes do not match");
    shape_ = {static_cast<uint32_t>(p_.outer), static_cast<uint32_t>(p_.axis), static_cast<uint32_t>(p_.inner)};
  }
  void run(const Args& args) const override {
    each_row(TRTACT_PLACE(reduce_gradient), args.lane.stream, shape_,
             ReduceGradient{with_x_ ? args.in[0] : nullptr, args.in[with_x_ ? 1 : 0], args.out[0], shape_, p_.kind});
  }

 private:
  trtact_reduce p_;
  bool with_x_;
  RowShape shape_;
};

// Dimensions of dy, those of equal fate merged: kept or summed.
struct Dims {
  int32_t rank = 0;
  uint32_t size[TRTACT_MAX_RANK], stride[TRTACT_MAX_RANK];
  TRTACT_HD size_t offset(uint32_t i) const {
    size_t at = 0;
    for (int32_t k = rank - 1; k >= 0; k--) {
      at += static_cast<size_t>(i % size[k]) * stride[k];
      i /= size[k];
    }
    return at;
  }
};

struct BroadcastTerm {
  const float *x, *other; // other or null
  Dims kept, summed;
  TRTACT_HD double load(uint32_t row, uint32_t i) const {
    const size_t at = kept.offset(row) + summed.offset(i);
    return other ? static_cast<double>(x[at]) * other[at] : static_cast<double>(x[at]);
  }
};
struct StoreRow {
  float* y;
  TRTACT_HD void operator()(uint32_t row, double sum) const { y[row] = static_cast<float>(sum); }
};

class SumTo : public Op {
 public:
  explicit SumTo(const Desc& d) : rows_(elements(d.out(0))), length_(elements(d.in(0)) / rows_), product_(d.raw.n_inputs > 1) {
    const auto &x = d.in(0), &y = d.out(0);
    if (product_) require_same(d.in(1), x, "sum to: dy and its factor differ in shape or layout");
    require(rows_ == 1 || y.rank <= x.rank, "sum to: the output outranks dy");
    if (rows_ > 1)
      for (int o = y.rank - 1, i = x.rank - 1; o >= 0; o--, i--)
        require(y.dims[o] == x.dims[i] || y.dims[o] == 1, "sum to: an output dimension is neither 1 nor that of dy");
    if (rows_ > 1 && x.layout == TRTACT_BLOCKED)
      for (int k = 0; k < x.rank - 2; k++)
        require(y.dims[y.rank - 1 - k] == 1, "sum to: a blocked dy is summed over all of space");
    int64_t step = elements(x);
    int before = -1;
    for (int i = 0; i < x.rank; i++) {
      const int64_t n = x.dims[i];
      step /= n;
      if (n == 1) continue;
      const int o = i - (x.rank - y.rank);
      const int kept = rows_ > 1 && o >= 0 && y.dims[o] == n;
      Dims& to = kept ? kept_ : summed_;
      if (before == kept) {
        to.size[to.rank - 1] *= static_cast<uint32_t>(n);
        to.stride[to.rank - 1] = static_cast<uint32_t>(step);
      } else {
        to.size[to.rank] = static_cast<uint32_t>(n);
        to.stride[to.rank++] = static_cast<uint32_t>(step);
      }
      before = kept;
    }
    workspace_bytes = bytes_of_planes<Add>(rows_, length_);
  }
  void run(const Args& args) const override {
    reduce_planes<Add>(TRTACT_PLACE(sum_to), args.lane.stream, rows_, length_, args.workspace,
                          BroadcastTerm{args.in[0], product_ ? args.in[1] : nullptr, kept_, summed_}, StoreRow{args.out[0]});
  }

 private:
  int64_t rows_, length_;
  bool product_;
  Dims kept_, summed_;
};

}  // namespace

std::unique_ptr<Op> make_softmax_backward(const Desc& d) { return std::make_unique<SoftmaxBackward>(d); }
std::unique_ptr<Op> make_reduce_backward(const Desc& d) { return std::make_unique<ReduceBackward>(d); }
std::unique_ptr<Op> make_sum_to(const Desc& d) { return std::make_unique<SumTo>(d); }

}  // namespace trtact::cuda
