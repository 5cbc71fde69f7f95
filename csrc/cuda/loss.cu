// Distillation losses, value and gradient in one go. A group of elements (along an axis,
// over space, over an image) is a row of rows.h. Bound by memory bandwidth: values that
// are read again come from the caches.
#include "../kernels/loss.h"

#include "op.h"
#include "rows.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

template <class E>
struct ElementLoss {
  const float *s, *t;
  float* g;
  float share;
  E error;
  TRTACT_HD float load(uint32_t i) const { return s[i] - t[i]; }
  TRTACT_HD double term(uint32_t i, float d) const {
    g[i] = share * error.derivative(d);
    return error.value(d);
  }
};
// The mean of what was summed.
struct StoreValue {
  float* value;
  double count;
  TRTACT_HD void operator()(Two sum) const {
    value[0] = static_cast<float>(sum.a / count);
    value[1] = static_cast<float>(sum.b / count);
  }
  TRTACT_HD void operator()(double sum) const { (*this)(Two{sum, sum}); }
};

struct Top {
  using Value = float;
  TRTACT_HD float operator()(float a, float b) const { return maximum(a, b); }
};

struct DivergenceOf {
  const float *s, *t;
  float* g;
  Two* part; // of each group
  RowShape shape;
  float per, share; // 1 / temperature; the factor of the gradient
  bool channel_kl;
  double square; // T^2 for channel_kl

  template <class Team>
  __device__ void operator()(uint32_t r, Team team) const {
    const size_t first = shape.first(r);
    float top_s = -INFINITY, top_t = -INFINITY;
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      top_s = maximum(top_s, s[at]);
      top_t = maximum(top_t, t[at]);
    }
    top_s = team.reduce(top_s, Top{});
    top_t = team.reduce(top_t, Top{});
    AddTwo add;
    Two sum = add.zero();
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      sum.a += exp_clamped(shifted(s[at], top_s, per));
      sum.b += exp_clamped(shifted(t[at], top_t, per));
    }
    sum = team.reduce(sum, add);
    const SoftmaxSum of_s(sum.a), of_t(sum.b);
    Two value = add.zero();
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      const float xs = shifted(s[at], top_s, per), xt = shifted(t[at], top_t, per);
      const Divergence d(xs, exp_clamped(xs), of_s.log, of_s.per, xt, exp_clamped(xt), of_t.log, of_t.per);
      value = add(value, channel_kl ? Two{d.kl * square, d.kl * square} : Two{d.cross, d.kl});
      g[at] = share * d.gradient;
    }
    value = team.reduce(value, add);
    if (team.rank() == 0) part[r] = value;
  }
};

struct CosineOf {
  const float *s, *t;
  float* g;
  Two* part;
  RowShape shape;
  double share;

  template <class Team>
  __device__ void operator()(uint32_t r, Team team) const {
    const size_t first = shape.first(r);
    AddTwo add;
    Two st_ss = add.zero(), tt = add.zero();
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      const double a = s[at], b = t[at];
      st_ss = add(st_ss, {a * b, a * a});
      tt = add(tt, {b * b, 0});
    }
    st_ss = team.reduce(st_ss, add);
    tt = team.reduce(tt, add);
    const Cosine c(st_ss.a, st_ss.b, tt.a, share);
    for (uint32_t i = team.rank(); i < shape.length; i += team.size()) {
      const size_t at = first + static_cast<size_t>(i) * shape.inner;
      g[at] = c.by_t * t[at] + c.by_s * s[at];
    }
    if (team.rank() == 0) part[r] = {c.value, c.value};
  }
};

class Loss : public Op {
 public:
  explicit Loss(const Desc& d) : p_(d.params<trtact_loss>()), size_(elements(d.in(0))) {
    const auto& t = d.in(0);
    require_same(t, d.in(1), "loss: student and teacher differ in shape or layout");
    require_same(t, d.out(1), "loss: student and gradient differ in shape or layout");
    require(elements(d.out(0)) == 2, "loss: the value has two elements");
    require(p_.kind >= TRTACT_LOSS_SOFT_LABEL && p_.kind <= TRTACT_LOSS_CHANNEL_KL, "loss: unknown kind");
    if (p_.kind == TRTACT_LOSS_L2 || p_.kind == TRTACT_LOSS_L1) {
      workspace_bytes = bytes_of_pieces<Add>(size_);
      return;
    }
    require(p_.kind == TRTACT_LOSS_COSINE || p_.temperature > 0, "loss: the temperature must be positive");
    require(p_.axis != TRTACT_OVER_IMAGE || p_.kind == TRTACT_LOSS_COSINE, "loss: only cosine goes over whole images");
    require(p_.axis == TRTACT_OVER_IMAGE || t.rank >= 2, "loss: the tensor needs at least two dimensions");
    require(p_.axis >= TRTACT_OVER_IMAGE && p_.axis < t.rank, "loss: axis outside the tensor");
    const View v(t);
    if (p_.axis >= 0)
      shape_ = rows_along(t, p_.axis);
    else if (p_.axis == TRTACT_OVER_IMAGE)
      shape_ = {static_cast<uint32_t>(v.n), static_cast<uint32_t>(v.c * v.space), 1};
    else
      shape_ = {static_cast<uint32_t>(v.n * v.c), static_cast<uint32_t>(v.space), 1};
    at_pieces_ = aligned(shape_.rows() * sizeof(Two));
    workspace_bytes = at_pieces_ + bytes_of_pieces<AddTwo>(shape_.rows());
  }

  void run(const Args& args) const override {
    const float *s = args.in[0], *t = args.in[1];
    float *g = args.out[1], *value = args.out[0];
    const cudaStream_t stream = args.lane.stream;
    const double count = p_.kind == TRTACT_LOSS_L2 || p_.kind == TRTACT_LOSS_L1 ? static_cast<double>(size_)
                                                                                : static_cast<double>(shape_.rows());
    const float share = static_cast<float>(p_.weight / count);
    const StoreValue mean{value, count};
    if (p_.kind == TRTACT_LOSS_L2)
      return reduce_all<Add>(TRTACT_PLACE(squared_error), stream, size_, args.workspace,
                                ElementLoss<SquaredError>{s, t, g, share, {}}, mean);
    if (p_.kind == TRTACT_LOSS_L1)
      return reduce_all<Add>(TRTACT_PLACE(absolute_error), stream, size_, args.workspace,
                                ElementLoss<AbsoluteError>{s, t, g, share, {}}, mean);
    Two* part = reinterpret_cast<Two*>(args.workspace);
    if (p_.kind == TRTACT_LOSS_COSINE) {
      each_row(TRTACT_PLACE(cosine), stream, shape_, CosineOf{s, t, g, part, shape_, p_.weight / count});
    } else {
      const bool channel = p_.kind == TRTACT_LOSS_CHANNEL_KL;
      const double square = channel ? static_cast<double>(p_.temperature) * p_.temperature : 1.0;
      each_row(TRTACT_PLACE(divergence), stream, shape_,
               DivergenceOf{s, t, g, part, shape_, 1.0f / p_.temperature,
                            static_cast<float>(square * p_.weight / p_.temperature / count), channel, square});
    }
    reduce_all<AddTwo>(TRTACT_PLACE(mean_over_groups), stream, shape_.rows(), args.workspace + at_pieces_,
                       Parts<AddTwo>{part}, mean);
  }

 private:
  trtact_loss p_;
  int64_t size_;
  RowShape shape_;
  size_t at_pieces_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_loss(const Desc& d) { return std::make_unique<Loss>(d); }

}  // namespace trtact::cuda
