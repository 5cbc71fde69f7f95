// Reductions over one (merged) axis and softmax, on row-major tensors. Bound by memory
// bandwidth, softmax by three reads of its input, two of them from the caches.
#include "../kernels/activation.h"
#include "op.h"
#include "rows.h"

namespace trtact::cuda {
namespace {

struct Multiplied {
  using Value = double;
  TRTACT_HD double zero() const { return 1; }
  TRTACT_HD double operator()(double a, double b) const { return a * b; }
};
struct Largest {
  using Value = float;
  TRTACT_HD float zero() const { return -INFINITY; }
  TRTACT_HD float operator()(float a, float b) const { return maximum(a, b); }
};
struct Least {
  using Value = float;
  TRTACT_HD float zero() const { return INFINITY; }
  TRTACT_HD float operator()(float a, float b) const { return minimum(a, b); }
};

struct ReduceRow {
  const float* x;
  float* y;
  RowShape shape;
  int32_t kind;

  template <class C, class Team>
  __device__ typename C::Value along(const float* row, Team team, C combine, bool square) const {
    auto v = combine.zero();
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const typename C::Value e = row[static_cast<size_t>(i) * shape.inner];
      v = combine(v, square ? e * e : e);
    }
    return team.reduce(v, combine);
  }
  template <class Team>
  __device__ void operator()(uint32_t r, Team team) const {
    const float* row = x + shape.first(r);
    float v;
    switch (kind) {
      case TRTACT_REDUCE_MAX: v = along(row, team, Largest{}, false); break;
      case TRTACT_REDUCE_MIN: v = along(row, team, Least{}, false); break;
      case TRTACT_REDUCE_PROD: v = static_cast<float>(along(row, team, Multiplied{}, false)); break;
      case TRTACT_REDUCE_L2: v = static_cast<float>(sqrt(along(row, team, Add{}, true))); break;
      default: {
        const double sum = along(row, team, Add{}, false);
        v = static_cast<float>(kind == TRTACT_REDUCE_MEAN ? sum / shape.length : sum);
      }
    }
    if (team.rank() == 0) y[r] = v;
  }
};

class Reduce : public Op {
 public:
  explicit Reduce(const Desc& d) : p_(d.params<trtact_reduce>()) {
    require(p_.outer > 0 && p_.axis > 0 && p_.inner > 0 && p_.outer * p_.axis * p_.inner == elements(d.in(0)) &&
                p_.outer * p_.inner == elements(d.out(0)),
            "reduce: sizes do not match");
    require(p_.kind >= TRTACT_REDUCE_MEAN && p_.kind <= TRTACT_REDUCE_L2, "reduce: unknown kind");
    shape_ = {static_cast<uint32_t>(p_.outer), static_cast<uint32_t>(p_.axis), static_cast<uint32_t>(p_.inner)};
  }
  void run(const Args& args) const override {
    each_row(TRTACT_PLACE(reduce), args.lane.stream, shape_, ReduceRow{args.in[0], args.out[0], shape_, p_.kind});
  }

 private:
  trtact_reduce p_;
  RowShape shape_;
};

struct SoftmaxRow {
  const float* x;
  float* y;
  RowShape shape;
  bool log;

  template <class Team>
  __device__ void operator()(uint32_t r, Team team) const {
    const float* from = x + shape.first(r);
    float* to = y + shape.first(r);
    float top = -INFINITY;
    for (uint32_t i = team.rank(); i < shape.length; i += team.size())
      top = greatest(top, from[static_cast<size_t>(i) * shape.inner]);
    top = team.reduce(top, Largest{});
    double sum = 0;
    for (uint32_t i = team.rank(); i < shape.length; i += team.size())
      sum += exp_clamped(from[static_cast<size_t>(i) * shape.inner] - top);
    const float total = static_cast<float>(team.reduce(sum, Add{}));
    const float log_sum = log ? logf(total) : 0.0f;
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = static_cast<size_t>(i) * shape.inner;
      const float d = from[at] - top;
      to[at] = log ? d - log_sum : exp_clamped(d) / total;
    }
  }
};

class Softmax : public Op {
 public:
  explicit Softmax(const Desc& d) : log_(d.params<trtact_axis>().log != 0) {
    const auto& t = d.in(0);
    const int32_t axis = d.params<trtact_axis>().axis;
    require(same_dims(t, d.out(0)), "softmax: tensors must be equal in shape");
    require(axis >= 0 && axis < t.rank, "softmax: axis outside the tensor");
    shape_ = rows_along(t, axis);
  }
  void run(const Args& args) const override {
    each_row(TRTACT_PLACE(softmax), args.lane.stream, shape_, SoftmaxRow{args.in[0], args.out[0], shape_, log_});
  }

 private:
  bool log_;
  RowShape shape_;
};

}  // namespace

std::unique_ptr<Op> make_reduce(const Desc& d) { return std::make_unique<Reduce>(d); }
std::unique_ptr<Op> make_softmax(const Desc& d) { return std::make_unique<Softmax>(d); }

}  // namespace trtact::cuda
