// Gradients of the elementwise operators and of the per-channel affine one, and
// the sum of gradients of a tensor with several readers.
#include "activate.h"
#include "broadcast.h"
#include "each.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

class UnaryBackward : public Op {
 public:
  explicit UnaryBackward(const Desc& d) : view_(d.out(0)), act_(d.params<trtact_activation>()) {
    require_same(d.in(0), d.out(0), "unary backward: x and dx differ in shape or layout");
    require_same(d.in(1), d.out(0), "unary backward: dy and dx differ in shape or layout");
    with_activation(act_, [](auto) {});
  }
  void run(const Args& args) const override {
    const float *x = args.in[0], *dy = args.in[1];
    float* dx = args.out[0];
    with_activation(act_, [&](auto f) {
      each_element(view_, [=](int64_t i, bool real) TRTACT_INLINE {
        dx[i] = real ? f.derivative(x[i]) * dy[i] : 0.0f;
      });
    });
  }

 private:
  View view_;
  trtact_activation act_;
};

class BinaryBackward : public Op {
 public:
  explicit BinaryBackward(const Desc& d)
      : view_(d.out(0)), p_(d.params<trtact_binary_backward>()), a_(d, 0), b_(d, 1) {
    with_binary(p_.kind, [](auto) {});
    require(p_.by == 0 || p_.by == 1, "binary backward: by is 0 or 1");
    require_same(d.in(2), d.out(0), "binary backward: dy and the gradient differ in shape or layout");
    if (!view_.blocked) {
      loops_ = plain_loops(d.in(0), d.in(1), d.out(0));
      return;
    }
    for (int i = 0; i < 2; i++) {
      mode_[i] = operand_mode(d.in(i), d.out(0));
      require(!d.constant(i) || mode_[i] == kScalar,
              "binary backward: a constant operand of a blocked tensor must be one value");
    }
  }

  void run(const Args& args) const override {
    const float *a = a_.of(args), *b = b_.of(args), *dy = args.in[2];
    float* out = args.out[0];
    with_binary(p_.kind, [&](auto f) {
      if (p_.by == 0)
        loop(a, b, dy, out, [=](float u, float v) TRTACT_INLINE { return f.left(u, v); });
      else
        loop(a, b, dy, out, [=](float u, float v) TRTACT_INLINE { return f.right(u, v); });
    });
  }

 private:
  template <class F>
  void loop(const float* a, const float* b, const float* dy, float* out, const F& f) const {
    if (view_.blocked)
      loop_blocked(a, b, dy, out, f);
    else
      loop_plain(a, b, dy, out, f);
  }

  template <class F>
  void loop_plain(const float* a, const float* b, const float* dy, float* out, const F& f) const {
    const int last = static_cast<int>(loops_.dims.size()) - 1;
    const int64_t inner = loops_.dims[last], sa = loops_.a[last], sb = loops_.b[last];
    int64_t rows = 1;
    for (int i = 0; i < last; i++) rows *= loops_.dims[i];
    const auto part = [&](int64_t r, int64_t from, int64_t to) {
      int64_t oa = 0, ob = 0, rest = r;
      for (int i = last - 1; i >= 0; i--) {
        const int64_t k = rest % loops_.dims[i];
        rest /= loops_.dims[i];
        oa += k * loops_.a[i];
        ob += k * loops_.b[i];
      }
      const float *pa = a + oa, *pb = b + ob, *pd = dy + r * inner;
      float* py = out + r * inner;
      if (sa == 1 && sb == 1) {
#pragma omp simd
        for (int64_t i = from; i < to; i++) py[i] = f(pa[i], pb[i]) * pd[i];
      } else {
        for (int64_t i = from; i < to; i++) py[i] = f(pa[i * sa], pb[i * sb]) * pd[i];
      }
    };
    if (rows == 1) {
      parallel(inner, kGrain, [&](int64_t from, int64_t to) { part(0, from, to); });
      return;
    }
    parallel(rows, std::max<int64_t>(1, kGrain / inner), [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) part(r, 0, inner);
    });
  }

  template <class F>
  void loop_blocked(const float* a, const float* b, const float* dy, float* out, const F& f) const {
    const int64_t size = view_.space * kBlock;
    parallel(view_.n * view_.blocks, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
      for (int64_t nb = from; nb < to; nb++) {
        const float *pa = operand(a, mode_[0], nb, size), *pb = operand(b, mode_[1], nb, size);
        const int64_t used = view_.used(nb % view_.blocks);
        float va[kBlock], vb[kBlock], mask[kBlock];
        for (int64_t l = 0; l < kBlock; l++) {
          va[l] = mode_[0] == kScalar ? *pa : pa[l];
          vb[l] = mode_[1] == kScalar ? *pb : pb[l];
          mask[l] = l < used ? 1.0f : 0.0f;
        }
        for (int64_t i = 0; i < size; i += kBlock) {
          const float *ra = mode_[0] == kFull ? pa + i : va, *rb = mode_[1] == kFull ? pb + i : vb;
          const float* pd = dy + nb * size + i;
          float* py = out + nb * size + i;
#pragma omp simd
          for (int64_t l = 0; l < kBlock; l++)
            py[l] = mask[l] != 0.0f ? f(ra[l], rb[l]) * pd[l] : 0.0f;
        }
      }
    });
  }

  View view_;
  trtact_binary_backward p_;
  Input a_, b_;
  Loops loops_;
  Operand mode_[2] = {kFull, kFull};
};

class AffineBackward : public Op {
 public:
  explicit AffineBackward(const Desc& d)
      : view_(d.out(0)), act_(d.params<trtact_activation>()), scale_(d, 1), shift_(d, 2),
        sums_(d.raw.n_outputs == 3) {
    require_same(d.in(0), d.out(0), "affine backward: x and dx differ in shape or layout");
    require_same(d.in(3), d.out(0), "affine backward: dy and dx differ in shape or layout");
    for (int i = 1; i <= 2; i++)
      require(elements(d.in(i)) == view_.c, "affine backward: scale and shift have one value per channel");
    require(d.raw.n_outputs == 1 || sums_, "affine backward: outputs are dx, or dx, dscale and dshift");
    if (sums_)
      for (int i = 1; i <= 2; i++)
        require(elements(d.out(i)) == view_.c, "affine backward: dscale and dshift have one value per channel");
    with_activation(act_, [](auto) {});
    workspace_bytes = bytes_of_sums(view_.n * view_.blocks * view_.lanes);
  }
  void run(const Args& args) const override {
    const View& v = view_;
    const float *x = args.in[0], *dy = args.in[3], *scale = scale_.of(args), *shift = shift_.of(args);
    float* dx = args.out[0];
    Two* part = reinterpret_cast<Two*>(args.workspace);
    with_activation(act_, [&](auto f) {
      // dx goes last through x and dy, for it may lie where one of them lies.
      sum_space(v, part, [=](int64_t i, int64_t block, int64_t lane) TRTACT_INLINE {
        const int64_t c = block * v.lanes + lane;
        const bool real = c < v.c;
        const float s = real ? scale[c] : 0.0f, t = real ? shift[c] : 0.0f, xi = x[i];
        const float g = f.derivative(xi * s + t) * dy[i];
        dx[i] = real ? g * s : 0.0f;
        return Two{static_cast<double>(g) * xi, g};
      });
    });
    if (!sums_) return;
    for (int64_t c = 0; c < v.c; c++) {
      Two sum;
      for (int64_t n = 0; n < v.n; n++) {
        const Two& t = part[(n * v.blocks + c / v.lanes) * v.lanes + c % v.lanes];
        sum.a += t.a;
        sum.b += t.b;
      }
      args.out[1][c] = static_cast<float>(sum.a);
      args.out[2][c] = static_cast<float>(sum.b);
    }
  }

 private:
  View view_;
  trtact_activation act_;
  Input scale_, shift_;
  bool sums_;
};

class Sum : public Op {
 public:
  explicit Sum(const Desc& d)
      : stored_(View(d.out(0)).stored()), inputs_(d.raw.n_inputs),
        accumulate_(d.params<trtact_sum>().accumulate != 0) {
    require(inputs_ >= 1, "sum: no inputs");
    for (int i = 0; i < inputs_; i++)
      require_same(d.in(i), d.out(0), "sum: an input and the output differ in shape or layout");
  }
  void run(const Args& args) const override {
    float* y = args.out[0];
    // In short runs, so that y stays in the nearest cache between inputs.
    constexpr int64_t kRun = 2048;
    parallel(stored_, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t from = begin; from < end; from += kRun) {
        const int64_t to = std::min(from + kRun, end);
        int k = 0;
        if (!accumulate_) {
          const float* x = args.in[k++];
#pragma omp simd
          for (int64_t i = from; i < to; i++) y[i] = x[i];
        }
        for (; k < inputs_; k++) {
          const float* x = args.in[k];
#pragma omp simd
          for (int64_t i = from; i < to; i++) y[i] += x[i];
        }
      }
    });
  }

 private:
  int64_t stored_;
  int inputs_;
  bool accumulate_;
};

}  // namespace

std::unique_ptr<Op> make_unary_backward(const Desc& d) { return std::make_unique<UnaryBackward>(d); }
std::unique_ptr<Op> make_binary_backward(const Desc& d) { return std::make_unique<BinaryBackward>(d); }
std::unique_ptr<Op> make_affine_backward(const Desc& d) { return std::make_unique<AffineBackward>(d); }
std::unique_ptr<Op> make_sum(const Desc& d) { return std::make_unique<Sum>(d); }

}  // namespace trtact::cpu
