// Distillation losses, value and gradient in one go. Softmax and cosine look at
// groups of elements (along an axis, over space, over an image): as many groups
// as a vector has lanes are gathered into short buffers, so that one set of loops
// serves every axis and both layouts.
#include "../kernels/loss.h"

#include <cstring>

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
    if (p_.axis == TRTACT_OVER_IMAGE) {
      require(p_.kind == TRTACT_LOSS_COSINE, "loss: only cosine goes over whole images");
      workspace_bytes = bytes_of_sums(pieces_of(image()));
      return;
    }
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
    } else if (p_.axis == TRTACT_OVER_IMAGE) {
      count = static_cast<double>(view_.n);
      sum = images(s, t, g, part);
    } else {
      sum = groups(s, t, g, part);
    }
    args.out[0][0] = static_cast<float>(sum.a / count);
    args.out[0][1] = static_cast<float>(sum.b / count);
  }

 private:
  int64_t chunks() const { return (static_cast<int64_t>(starts_.size()) + kBlock - 1) / kBlock; }

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
    const bool over_n = p_.axis == 0, over_c = p_.axis == 1;
    const bool over_space = p_.axis >= 2 || p_.axis == TRTACT_OVER_SPACE;
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
    return sum_elements(view_, part, [=](int64_t i, bool real) TRTACT_INLINE {
      const float d = real ? s[i] - t[i] : 0.0f;
      g[i] = share * error.derivative(d);
      return Two{error.value(d), 0};
    });
  }

  // An image is one run of memory, whose padding lanes are zeros and change no sum.
  View image() const {
    trtact_tensor t{TRTACT_PLAIN, 1, {view_.stored() / view_.n}};
    return View(t);
  }
  Two images(const float* s, const float* t, float* g, Two* part) const {
    const View one = image();
    Two sum;
    for (int64_t n = 0; n < view_.n; n++) {
      const float *a = s + n * one.stored(), *b = t + n * one.stored();
      float* to = g + n * one.stored();
      const Two student = sum_elements(one, part, [=](int64_t i, bool) TRTACT_INLINE {
        return Two{static_cast<double>(a[i]) * b[i], static_cast<double>(a[i]) * a[i]};
      });
      const Two teacher = sum_elements(one, part, [=](int64_t i, bool) TRTACT_INLINE {
        return Two{static_cast<double>(b[i]) * b[i], 0};
      });
      const Cosine c(student.a, student.b, teacher.a, p_.weight / static_cast<double>(view_.n));
      each_element(one, [=](int64_t i, bool) TRTACT_INLINE { to[i] = c.by_t * b[i] + c.by_s * a[i]; });
      sum.a += c.value;
    }
    return {sum.a, sum.a};
  }

  // kBlock groups side by side, so that every loop over them is a vector: element
  // i of group l lies at buffer[i * kBlock + l].
  Two groups(const float* s, const float* t, float* g, Two* part) const {
    const int64_t size = static_cast<int64_t>(offsets_.size()), count = static_cast<int64_t>(starts_.size());
    parallel(chunks(), std::max<int64_t>(1, kGrain / 8 / (size * kBlock)), [&](int64_t from, int64_t to) {
      // Grows once and stays with the thread.
      thread_local std::vector<float> buffer;
      buffer.resize(std::max<size_t>(buffer.size(), 4 * size * kBlock));
      float* b[4];
      for (int i = 0; i < 4; i++) b[i] = buffer.data() + i * size * kBlock;
      for (int64_t chunk = from; chunk < to; chunk++) {
        const int64_t first = chunk * kBlock, n = std::min(kBlock, count - first);
        gather(s, first, n, b[0]);
        gather(t, first, n, b[1]);
        Two value[kBlock];
        if (p_.kind == TRTACT_LOSS_COSINE)
          cosine(b[0], b[1], size, value);
        else
          divergence(b[0], b[1], b[2], b[3], size, value);
        part[chunk] = total(value, n);
        scatter(b[0], first, n, g);
      }
    });
    clear_padding(g);
    return total(part, chunks());
  }

  bool adjacent(int64_t first, int64_t n) const { return n == kBlock && starts_[first + n - 1] == starts_[first] + n - 1; }

  void gather(const float* x, int64_t first, int64_t n, float* to) const {
    const int64_t size = static_cast<int64_t>(offsets_.size());
    if (adjacent(first, n)) {
      for (int64_t i = 0; i < size; i++) std::memcpy(to + i * kBlock, x + starts_[first] + offsets_[i], kBlock * sizeof(float));
      return;
    }
    for (int64_t l = 0; l < kBlock; l++) { // what is left over repeats the last group
      const float* from = x + starts_[first + std::min(l, n - 1)];
      for (int64_t i = 0; i < size; i++) to[i * kBlock + l] = from[offsets_[i]];
    }
  }
  void scatter(const float* from, int64_t first, int64_t n, float* x) const {
    const int64_t size = static_cast<int64_t>(offsets_.size());
    if (adjacent(first, n)) {
      for (int64_t i = 0; i < size; i++) std::memcpy(x + starts_[first] + offsets_[i], from + i * kBlock, kBlock * sizeof(float));
      return;
    }
    for (int64_t l = 0; l < n; l++)
      for (int64_t i = 0; i < size; i++) x[starts_[first + l] + offsets_[i]] = from[i * kBlock + l];
  }

  // value = {loss, loss above its least} of each group; s becomes the gradient.
  void divergence(float* s, float* t, float* es, float* et, int64_t size, Two* value) const {
    float log_s[kBlock], log_t[kBlock], per_s[kBlock], per_t[kBlock];
    softmax(s, es, size, log_s, per_s);
    softmax(t, et, size, log_t, per_t);
    const bool channel = p_.kind == TRTACT_LOSS_CHANNEL_KL;
    const double square = channel ? static_cast<double>(p_.temperature) * p_.temperature : 1.0;
    const float share = static_cast<float>(square * p_.weight / p_.temperature / static_cast<double>(starts_.size()));
    double cross[kBlock] = {}, kl[kBlock] = {};
    for (int64_t i = 0; i < size * kBlock; i += kBlock) {
#pragma omp simd
      for (int64_t l = 0; l < kBlock; l++) {
        const Divergence d(s[i + l], es[i + l], log_s[l], per_s[l], t[i + l], et[i + l], log_t[l], per_t[l]);
        cross[l] += d.cross;
        kl[l] += d.kl;
        s[i + l] = share * d.gradient;
      }
    }
    for (int64_t l = 0; l < kBlock; l++) value[l] = channel ? Two{kl[l] * square, kl[l] * square} : Two{cross[l], kl[l]};
  }

  // x becomes x / T less its maximum, e its exponential; the logarithm and the
  // reciprocal of their sum.
  void softmax(float* x, float* e, int64_t size, float* log_sum, float* per_sum) const {
    const float per = 1.0f / p_.temperature;
    float top[kBlock];
    double sum[kBlock] = {};
    for (int64_t l = 0; l < kBlock; l++) top[l] = x[l];
    for (int64_t i = kBlock; i < size * kBlock; i += kBlock) {
#pragma omp simd
      for (int64_t l = 0; l < kBlock; l++) top[l] = maximum(top[l], x[i + l]);
    }
    for (int64_t i = 0; i < size * kBlock; i += kBlock) {
#pragma omp simd
      for (int64_t l = 0; l < kBlock; l++) {
        x[i + l] = shifted(x[i + l], top[l], per);
        e[i + l] = exp_clamped(x[i + l]);
        sum[l] += e[i + l];
      }
    }
    for (int64_t l = 0; l < kBlock; l++) {
      const SoftmaxSum both(sum[l]);
      log_sum[l] = both.log;
      per_sum[l] = both.per;
    }
  }

  void cosine(float* s, const float* t, int64_t size, Two* value) const {
    double dot[kBlock] = {}, ss[kBlock] = {}, tt[kBlock] = {};
    for (int64_t i = 0; i < size * kBlock; i += kBlock) {
#pragma omp simd
      for (int64_t l = 0; l < kBlock; l++) {
        const double a = s[i + l], b = t[i + l];
        dot[l] += a * b;
        ss[l] += a * a;
        tt[l] += b * b;
      }
    }
    float by_s[kBlock], by_t[kBlock];
    const double share = p_.weight / static_cast<double>(starts_.size());
    for (int64_t l = 0; l < kBlock; l++) {
      const Cosine c(dot[l], ss[l], tt[l], share);
      by_t[l] = c.by_t;
      by_s[l] = c.by_s;
      value[l] = {c.value, c.value};
    }
    for (int64_t i = 0; i < size * kBlock; i += kBlock) {
#pragma omp simd
      for (int64_t l = 0; l < kBlock; l++) s[i + l] = by_t[l] * t[i + l] + by_s[l] * s[i + l];
    }
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
