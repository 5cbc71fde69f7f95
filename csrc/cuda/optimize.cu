// Optimisers over one flat buffer of parameters: one kernel for all segments. And the
// gradient's norm. Bound by memory bandwidth.
#include "../kernels/optimizer.h"

#include <algorithm>
#include <cfloat>

#include "op.h"
#include "reduce.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

struct SquareOf {
  const float* g;
  TRTACT_HD double load(uint32_t i) const { return static_cast<double>(g[i]) * g[i]; }
};
struct StoreNorm {
  float* out;
  float scale, max_norm;
  TRTACT_HD void operator()(double sum) const {
    const double norm = fabs(static_cast<double>(scale)) * sqrt(sum);
    out[0] = static_cast<float>(norm);
    // A NaN stays one.
    const bool over = max_norm > 0 && !(norm <= max_norm);
    out[1] = static_cast<float>(over ? scale * (max_norm / norm) : scale);
  }
};

class GradientNorm : public Op {
 public:
  explicit GradientNorm(const Desc& d) : p_(d.params<trtact_gradient_norm>()), size_(elements(d.in(0))) {
    require(elements(d.out(0)) == 2, "gradient norm: the output has two elements");
    workspace_bytes = bytes_of_pieces<Add>(size_);
  }
  void run(const Args& args) const override {
    reduce_all<Add>(TRTACT_PLACE(gradient_norm), args.lane.stream, size_, args.workspace, SquareOf{args.in[0]},
                       StoreNorm{args.out[0], p_.scale, p_.max_norm});
  }

 private:
  trtact_gradient_norm p_;
  int64_t size_;
};

// 1 - beta^step, once for all parameters.
struct Corrections {
  const float* control;
  float beta1, beta2;
  float* out;
  TRTACT_HD void operator()(uint32_t) const {
    out[0] = static_cast<float>(1 - pow(static_cast<double>(beta1), static_cast<double>(control[1])));
    out[1] = static_cast<float>(1 - pow(static_cast<double>(beta2), static_cast<double>(control[1])));
  }
};

struct Update {
  const float *g, *control, *norm; // norm or null
  float *w, *first, *second;
  const float* corrections;
  const trtact_segment* segments; // by from
  uint32_t count;
  int32_t kind;
  float momentum, beta1, beta2, epsilon;
  bool nesterov;

  struct Loaded {
    float w, first, second, g, rate, decay, correction1, correction2;
    bool wanted;
  };
  TRTACT_HD Loaded load(uint32_t i) const {
    if (norm && !(fabsf(norm[0]) <= FLT_MAX)) return {}; // infinite or NaN
    uint32_t low = 0, high = count; // the last segment that begins at i or before
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      (segments[middle].from <= i ? low : high) = middle;
    }
    const trtact_segment& s = segments[low];
    if (i < s.from || i >= s.from + s.count) return {};
    return {w[i], first ? first[i] : 0.0f, second ? second[i] : 0.0f, (norm ? norm[1] : 1.0f) * g[i], control[0] * s.rate,
            s.decay, second ? corrections[0] : 0.0f, second ? corrections[1] : 0.0f, true};
  }
  TRTACT_HD void store(uint32_t i, Loaded v) const {
    if (!v.wanted) return;
    if (kind == TRTACT_SGD)
      Sgd{}(v.w, v.g, v.rate, v.decay);
    else if (kind == TRTACT_MOMENTUM)
      Momentum{momentum, nesterov}(v.w, v.first, v.g, v.rate, v.decay);
    else
      Adam{beta1, beta2, epsilon, v.correction1, v.correction2, kind == TRTACT_ADAMW}(v.w, v.first, v.second, v.g, v.rate,
                                                                                      v.decay);
    w[i] = v.w;
    if (first) first[i] = v.first;
    if (second) second[i] = v.second;
  }
};

class Optimize : public Op {
 public:
  explicit Optimize(const Desc& d) : p_(d.params<trtact_optimize>()), size_(elements(d.in(0))), with_norm_(d.raw.n_inputs > 2) {
    require(p_.kind >= TRTACT_SGD && p_.kind <= TRTACT_ADAMW, "optimize: unknown kind");
    require(elements(d.in(1)) == 2 && (!with_norm_ || elements(d.in(2)) == 2),
            "optimize: control and norm have two elements");
    states_ = p_.kind == TRTACT_SGD ? 1 : p_.kind == TRTACT_MOMENTUM ? 2 : 3;
    for (int i = 0; i < states_; i++)
      require(elements(d.out(i)) == size_, "optimize: parameters and states have the gradient's size");
    std::vector<trtact_segment> segments(p_.segments, p_.segments + p_.n_segments);
    for (const auto& s : segments)
      require(s.from >= 0 && s.count >= 0 && s.from + s.count <= size_, "optimize: a segment leaves the parameters");
    segments.erase(std::remove_if(segments.begin(), segments.end(), [](const auto& s) { return s.count == 0; }),
                   segments.end());
    std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) { return a.from < b.from; });
    count_ = static_cast<uint32_t>(segments.size());
    if (count_) segments_ = Memory(segments);
    p_.segments = nullptr;
    if (states_ == 3) workspace_bytes = kAlignment;
  }
  void run(const Args& args) const override {
    if (!count_) return;
    float* corrections = reinterpret_cast<float*>(args.workspace);
    if (states_ == 3) TRTACT_EACH(args.lane.stream, 1, Corrections{args.in[1], p_.beta1, p_.beta2, corrections});
    TRTACT_MAP(args.lane.stream, size_,
               Update{args.in[0], args.in[1], with_norm_ ? args.in[2] : nullptr, args.out[0],
                       states_ > 1 ? args.out[1] : nullptr, states_ > 2 ? args.out[2] : nullptr, corrections,
                       segments_.get<trtact_segment>(), count_, p_.kind, p_.momentum, p_.beta1, p_.beta2, p_.epsilon,
                       p_.nesterov != 0});
  }

 private:
  trtact_optimize p_;
  int64_t size_;
  bool with_norm_;
  int states_ = 0;
  uint32_t count_ = 0;
  Memory segments_;
};

}  // namespace

std::unique_ptr<Op> make_gradient_norm(const Desc& d) { return std::make_unique<GradientNorm>(d); }
std::unique_ptr<Op> make_optimize(const Desc& d) { return std::make_unique<Optimize>(d); }

}  // namespace trtact::cuda
