// Distillation losses, value and gradient in one go. Softmax and cosine look at
// groups of elements (along an axis, over space, over an image): a group is
// gathered into two short buffers, so that one loop, which vectorises, serves
// every axis and both layouts.
#include "../kernels/loss.h"

#include <cmath>
#include <limits>

#include "../kernels/activation.h"
#include "each.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

class Loss : public Op {
 public:
  explicit Loss(const Desc& d) : p_(d.params<trtact_loss>()), view_(d.in(0)) {
    require_same(d.in(0), d.in(1), "loss: student and teacher differ in shape or layout");
    require_same(d.in(0), d.out(1), "loss: student and gradient differ in shape or layout");
    require(elements(d.out(0)) == 2, "loss: the value has two elements");
    require(p_.kind >= TRTACT_LOSS_SOFT_LABEL && p_.kind <= TRTACT_LOSS_CHANNEL_KL, "loss: unknown kind");
    if (p_.kind == TRTACT_LOSS_L2 || p_.kind == TRTACT_LOSS_L1) {
      workspace_bytes = bytes_of_sums(pieces_of(view_));
      return;
    }
    require(p_.kind == TRTACT_LOSS_COSINE || p_.temperature > 0, "loss: the temperature must be positive");
    find_groups(d.in(0));
    workspace_bytes = bytes_of_sums(chunks());
  }

  void run(const Args& args) const override {
    const float *s = args.in[0], *t = args.in[1];
    float* g = args.out[1];
    Two* part = reinterpret_cast<Two*>(args.workspace);
    Two sum;
    double count = static_cast<double>(starts_.size());
    if (p_.kind == TRTACT_LOSS_L2 || p_.kind == TRTACT_LOSS_L1) {
      count = static_cast<double>(view_.logical());
      sum = p_.kind == TRTACT_LOSS_L2 ? each(SquaredError{}, s, t, g, part) : each(AbsoluteError{}, s, t, g, part);
      sum.b = sum.a;
    } else {
      sum = groups(s, t, g, part);
    }
    args.out[0][0] = static_cast<float>(sum.a / count);
    args.out[0][1] = static_cast<float>(sum.b / count);
  }

 private:
  static constexpr int64_t kChunk = 32; // groups that one thread does in a row

  int64_t chunks() const { return (static_cast<int64_t>(starts_.size()) + kChunk - 1) / kChunk; }

  // Where the elements of a group lie from its first, and where groups begin.
  void find_groups(const trtact_tensor& t) {
    const View& v = view_;
    require(t.rank >= 2, "loss: the tensor needs at least two dimensions");
    require(p_.axis >= TRTACT_OVER_IMAGE && p_.axis < t.rank, "loss: axis outside the tensor");
    const int64_t block = v.space * v.lanes, image = v.blocks * block;
    const auto channel = [&](int64_t c) { return c / v.lanes * block + c % v.lanes; };
    // The part of space that a group covers: [outer][length][inner].
    int64_t length = v.space, inner = 1;
    if (p_.axis >= 2) {
      length = t.dims[p_.axis];
      for (int i = p_.axis + 1; i < t.rank; i++) inner *= t.dims[i];
    }
    const bool over_n = p_.axis == 0, over_c = p_.axis == 1 || p_.axis == TRTACT_OVER_IMAGE;
    const bool over_space = p_.axis >= 2 || p_.axis < 0;
    const int64_t outer = over_space ? v.space / (length * inner) : v.space;
    for (int64_t n = 0; n < (over_n ? v.n : 1); n++)
      for (int64_t c = 0; c < (over_c ? v.c : 1); c++)
        for (int64_t k = 0; k < (over_space ? length : 1); k++)
          offsets_.push_back(n * image + channel(c) + k * inner * v.lanes);
    for (int64_t n = 0; n < (over_n ? 1 : v.n); n++)
      for (int64_t b = 0; b < (over_c ? 1 : v.blocks); b++)
        for (int64_t o = 0; o < outer; o++)
          for (int64_t i = 0; i < (over_space ? inner : 1); i++)
            for (int64_t l = 0; l < (over_c ? 1 : v.used(b)); l++)
              starts_.push_back(n * image + b * block + (o * (over_space ? length * inner : 1) + i) * v.lanes + l);
  }

  template <class E>
  Two each(const E& error, const float* s, const float* t, float* g, Two* part) const {
    const float share = static_cast<float>(p_.weight / static_cast<double>(view_.logical()));
    return sum_elements(view_, part, [=](int64_t i, bool real) {
      const float d = real ? s[i] - t[i] : 0.0f;
      g[i] = share * error.derivative(d);
      return Two{error.value(d), 0};
    });
  }

  Two groups(const float* s, const float* t, float* g, Two* part) const {
    const int64_t size = static_cast<int64_t>(offsets_.size()), count = static_cast<int64_t>(starts_.size());
    parallel(chunks(), std::max<int64_t>(1, kGrain / 8 / (size * kChunk)), [&](int64_t from, int64_t to) {
      // Grows once and stays with the thread.
      thread_local std::vector<float> buffer;
      buffer.resize(std::max<size_t>(buffer.size(), 2 * size));
      float *bs = buffer.data(), *bt = bs + size;
      for (int64_t chunk = from; chunk < to; chunk++) {
        Two sum;
        for (int64_t k = chunk * kChunk; k < std::min((chunk + 1) * kChunk, count); k++) {
          for (int64_t i = 0; i < size; i++) {
            bs[i] = s[starts_[k] + offsets_[i]];
            bt[i] = t[starts_[k] + offsets_[i]];
          }
          const Two value = p_.kind == TRTACT_LOSS_COSINE ? cosine(bs, bt, size) : divergence(bs, bt, size);
          sum.a += value.a;
          sum.b += value.b;
          for (int64_t i = 0; i < size; i++) g[starts_[k] + offsets_[i]] = bs[i];
        }
        part[chunk] = sum;
      }
    });
    clear_padding(g);
    return total(part, chunks());
  }

  // Of one group: {loss, loss above its least}; s becomes the gradient.
  Two divergence(float* s, float* t, int64_t size) const {
    const double log_s = log_softmax(s, size), log_t = log_softmax(t, size);
    const bool channel = p_.kind == TRTACT_LOSS_CHANNEL_KL;
    const double square = channel ? static_cast<double>(p_.temperature) * p_.temperature : 1.0;
    const float share = static_cast<float>(square * p_.weight / p_.temperature / static_cast<double>(starts_.size()));
    const float fs = static_cast<float>(log_s), ft = static_cast<float>(log_t);
    double cross = 0, kl = 0;
#pragma omp simd reduction(+ : cross, kl)
    for (int64_t i = 0; i < size; i++) {
      const float ls = s[i] - fs, lt = t[i] - ft, p = exp_clamped(lt);
      cross -= static_cast<double>(p) * ls;
      kl += static_cast<double>(p) * (lt - ls);
      s[i] = share * (exp_clamped(ls) - p);
    }
    kl *= square;
    return {channel ? kl : cross, kl};
  }

  // x becomes x / T less its maximum; the logarithm of the sum of its exponentials.
  double log_softmax(float* x, int64_t size) const {
    const float per = 1.0f / p_.temperature;
    float top = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < size; i++) top = maximum(top, x[i]);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) {
      x[i] = (x[i] - top) * per;
      sum += exp_clamped(x[i]);
    }
    return std::log(sum);
  }

  // 1 - cos; a vector shorter than 1e-8 counts as that long, as in PyTorch.
  Two cosine(float* s, const float* t, int64_t size) const {
    constexpr double kLeast = 1e-8;
    double dot = 0, ss = 0, tt = 0;
#pragma omp simd reduction(+ : dot, ss, tt)
    for (int64_t i = 0; i < size; i++) {
      const double a = s[i], b = t[i];
      dot += a * b;
      ss += a * a;
      tt += b * b;
    }
    const double a = std::max(std::sqrt(ss), kLeast), b = std::max(std::sqrt(tt), kLeast), cos = dot / (a * b);
    const double share = p_.weight / static_cast<double>(starts_.size());
    const float by_t = static_cast<float>(-share / (a * b));
    const float by_s = static_cast<float>(a > kLeast ? share * cos / (a * a) : 0);
#pragma omp simd
    for (int64_t i = 0; i < size; i++) s[i] = by_t * t[i] + by_s * s[i];
    return {1 - cos, 1 - cos};
  }

  void clear_padding(float* g) const {
    const View& v = view_;
    if (!v.padded()) return;
    const int64_t used = v.used(v.blocks - 1);
    for (int64_t n = 0; n < v.n; n++) {
      float* block = g + ((n + 1) * v.blocks - 1) * v.space * kBlock;
      for (int64_t s = 0; s < v.space; s++)
        for (int64_t l = used; l < kBlock; l++) block[s * kBlock + l] = 0;
    }
  }

  trtact_loss p_;
  View view_;
  std::vector<int64_t> offsets_, starts_;
};

}  // namespace

std::unique_ptr<Op> make_loss(const Desc& d) { return std::make_unique<Loss>(d); }

}  // namespace trtact::cpu
