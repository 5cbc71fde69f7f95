// Reductions over one (merged) axis and softmax, on row-major tensors.
#include <limits>

#include "../kernels/activation.h"
#include "op.h"

namespace trtact::cpu {
namespace {

class Reduce : public Op {
 public:
  explicit Reduce(const Desc& d) : p_(d.params<trtact_reduce>()) {
    require(d.in(0).layout == TRTACT_PLAIN && d.out(0).layout == TRTACT_PLAIN,
            "reduce: tensors must be row-major");
    require(p_.outer > 0 && p_.axis > 0 && p_.inner > 0 &&
                p_.outer * p_.axis * p_.inner == elements(d.in(0)) &&
                p_.outer * p_.inner == elements(d.out(0)),
            "reduce: sizes do not match");
    require(p_.kind >= TRTACT_REDUCE_MEAN && p_.kind <= TRTACT_REDUCE_L2, "reduce: unknown kind");
  }
  void run(const Args& args) const override {
    parallel(p_.outer * p_.inner, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, p_.axis)),
             [&](int64_t from, int64_t to) {
               for (int64_t i = from; i < to; i++)
                 args.out[0][i] = one(args.in[0] + (i / p_.inner) * p_.axis * p_.inner + i % p_.inner);
             });
  }

 private:
  float one(const float* x) const {
    const int64_t n = p_.axis, step = p_.inner;
    double sum = 0, product = 1;
    float low = std::numeric_limits<float>::infinity(), high = -low;
    switch (p_.kind) {
      case TRTACT_REDUCE_MEAN:
      case TRTACT_REDUCE_SUM:
        for (int64_t i = 0; i < n; i++) sum += x[i * step];
        return static_cast<float>(p_.kind == TRTACT_REDUCE_MEAN ? sum / n : sum);
      case TRTACT_REDUCE_MAX:
        for (int64_t i = 0; i < n; i++) high = maximum(high, x[i * step]);
        return high;
      case TRTACT_REDUCE_MIN:
        for (int64_t i = 0; i < n; i++) low = minimum(low, x[i * step]);
        return low;
      case TRTACT_REDUCE_PROD:
        for (int64_t i = 0; i < n; i++) product *= x[i * step];
        return static_cast<float>(product);
      default:
        for (int64_t i = 0; i < n; i++) sum += static_cast<double>(x[i * step]) * x[i * step];
        return static_cast<float>(std::sqrt(sum));
    }
  }

  trtact_reduce p_;
};

class Softmax : public Op {
 public:
  explicit Softmax(const Desc& d) {
    const auto& p = d.params<trtact_axis>();
    const auto& t = d.in(0);
    require(t.layout == TRTACT_PLAIN && d.out(0).layout == TRTACT_PLAIN && same_dims(t, d.out(0)),
            "softmax: tensors must be row-major and equal in shape");
    require(p.axis >= 0 && p.axis < t.rank, "softmax: axis outside the tensor");
    log_ = p.log != 0;
    for (int i = 0; i < p.axis; i++) outer_ *= t.dims[i];
    axis_ = t.dims[p.axis];
    for (int i = p.axis + 1; i < t.rank; i++) inner_ *= t.dims[i];
  }
  void run(const Args& args) const override {
    parallel(outer_ * inner_, std::max<int64_t>(1, kGrain / 4 / std::max<int64_t>(1, axis_)),
             [&](int64_t from, int64_t to) {
               for (int64_t i = from; i < to; i++) {
                 const int64_t at = (i / inner_) * axis_ * inner_ + i % inner_;
                 one(args.in[0] + at, args.out[0] + at);
               }
             });
  }

 private:
  void one(const float* x, float* y) const {
    float top = -std::numeric_limits<float>::infinity();
    for (int64_t k = 0; k < axis_; k++) top = greatest(top, x[k * inner_]);
    float sum = 0;
    for (int64_t k = 0; k < axis_; k++) {
      const float e = exp_clamped(x[k * inner_] - top);
      if (!log_) y[k * inner_] = e;
      sum += e;
    }
    const float log_sum = log_ ? std::log(sum) : 0;
    for (int64_t k = 0; k < axis_; k++)
      y[k * inner_] = log_ ? x[k * inner_] - top - log_sum : y[k * inner_] / sum;
  }

  bool log_ = false;
  int64_t outer_ = 1, axis_ = 1, inner_ = 1;
};

}  // namespace

std::unique_ptr<Op> make_reduce(const Desc& d) { return std::make_unique<Reduce>(d); }
std::unique_ptr<Op> make_softmax(const Desc& d) { return std::make_unique<Softmax>(d); }

}  // namespace trtact::cpu
