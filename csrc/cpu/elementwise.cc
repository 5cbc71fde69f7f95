// Elementwise operators: unary, binary with broadcasting, per-channel affine.
// All are bound by memory bandwidth.
#include "activate.h"
#include "broadcast.h"

namespace trtact::cpu {
namespace {

class Unary : public Op {
 public:
  explicit Unary(const Desc& d) : view_(d.out(0)), act_(d.params<trtact_activation>()) {
    require(same_dims(d.in(0), d.out(0)) && d.in(0).layout == d.out(0).layout,
            "unary: input and output differ in shape or layout");
    with_activation(act_, [](auto) {});
  }
  void run(const Args& a) const override {
    with_activation(act_, [&](auto f) { map_tensor(view_, a.in[0], a.out[0], f); });
  }

 private:
  View view_;
  trtact_activation act_;
};

class Binary : public Op {
 public:
  explicit Binary(const Desc& d) : view_(d.out(0)) {
    kind_ = d.params<trtact_binary>().kind;
    with_binary(kind_, [](auto) {});
    for (int i = 0; i < 2; i++)
      if (const float* c = d.constant(i)) keep(i, d.in(i), c);
    if (!view_.blocked) {
      loops_ = plain_loops(d.in(0), d.in(1), d.out(0));
      return;
    }
    for (int i = 0; i < 2; i++) mode_[i] = operand_mode(d.in(i), d.out(0));
  }

  void run(const Args& args) const override {
    const float* a = constant_[0].empty() ? args.in[0] : constant_[0].data();
    const float* b = constant_[1].empty() ? args.in[1] : constant_[1].data();
    with_binary(kind_, [&](auto f) {
      if (view_.blocked)
        run_blocked(a, b, args.out[0], f);
      else
        run_plain(a, b, args.out[0], f);
    });
  }

 private:
  // A constant is copied in the layout that its input was declared with.
  void keep(int i, const trtact_tensor& t, const float* c) {
    const View v(t);
    constant_[i].assign(v.stored(), 0.0f);
    for (int64_t n = 0; n < v.n; n++)
      for (int64_t ch = 0; ch < v.c; ch++)
        for (int64_t s = 0; s < v.space; s++)
          constant_[i][((n * v.blocks + ch / v.lanes) * v.space + s) * v.lanes + ch % v.lanes] =
              c[(n * v.c + ch) * v.space + s];
  }

  template <class H>
  void run_plain(const float* a, const float* b, float* y, const H& h) const {
    const int last = static_cast<int>(loops_.dims.size()) - 1;
    const int64_t inner = loops_.dims[last], sa = loops_.a[last], sb = loops_.b[last];
    int64_t rows = 1;
    for (int i = 0; i < last; i++) rows *= loops_.dims[i];
    const auto row = [&](int64_t r, int64_t from, int64_t to) {
      int64_t oa = 0, ob = 0, rest = r;
      for (int i = last - 1; i >= 0; i--) {
        const int64_t k = rest % loops_.dims[i];
        rest /= loops_.dims[i];
        oa += k * loops_.a[i];
        ob += k * loops_.b[i];
      }
      const float *pa = a + oa, *pb = b + ob;
      float* py = y + r * inner;
      if (sa == 1 && sb == 1) {
#pragma omp simd
        for (int64_t i = from; i < to; i++) py[i] = h(pa[i], pb[i]);
      } else if (sa == 1 && sb == 0) {
        const float vb = *pb;
#pragma omp simd
        for (int64_t i = from; i < to; i++) py[i] = h(pa[i], vb);
      } else if (sa == 0 && sb == 1) {
        const float va = *pa;
#pragma omp simd
        for (int64_t i = from; i < to; i++) py[i] = h(va, pb[i]);
      } else {
        for (int64_t i = from; i < to; i++) py[i] = h(pa[i * sa], pb[i * sb]);
      }
    };
    if (rows == 1) {
      parallel(inner, kGrain, [&](int64_t from, int64_t to) { row(0, from, to); });
      return;
    }
    parallel(rows, std::max<int64_t>(1, kGrain / inner), [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) row(r, 0, inner);
    });
  }

  template <class H>
  void run_blocked(const float* a, const float* b, float* y, const H& h) const {
    const auto plane = [&](int64_t nb, int64_t from, int64_t to) {
      const float* pa = operand(a, mode_[0], nb, view_.space * kBlock);
      const float* pb = operand(b, mode_[1], nb, view_.space * kBlock);
      float* py = y + nb * view_.space * kBlock;
      const int64_t used = view_.used(nb % view_.blocks);
      if (mode_[0] == kFull && mode_[1] == kFull && used == kBlock) {
#pragma omp simd
        for (int64_t i = from * kBlock; i < to * kBlock; i++) py[i] = h(pa[i], pb[i]);
        return;
      }
      float va[kBlock], vb[kBlock], mask[kBlock];
      for (int64_t l = 0; l < kBlock; l++) {
        va[l] = mode_[0] == kScalar ? *pa : pa[l];
        vb[l] = mode_[1] == kScalar ? *pb : pb[l];
        mask[l] = l < used ? 1.0f : 0.0f;
      }
      for (int64_t i = from * kBlock; i < to * kBlock; i += kBlock) {
        const float* ra = mode_[0] == kFull ? pa + i : va;
        const float* rb = mode_[1] == kFull ? pb + i : vb;
#pragma omp simd
        for (int64_t l = 0; l < kBlock; l++)
          py[i + l] = mask[l] != 0.0f ? h(ra[l], rb[l]) : 0.0f;
      }
    };
    parallel_rows(view_.n * view_.blocks, view_.space, kBlock, plane);
  }

  View view_;
  int32_t kind_ = 0;
  Loops loops_;
  Operand mode_[2] = {kFull, kFull};
  std::vector<float> constant_[2];
};

// act(x * scale[c] + shift[c])
class Affine : public Op {
 public:
  explicit Affine(const Desc& d) : view_(d.out(0)), act_(d.params<trtact_activation>()) {
    require(same_dims(d.in(0), d.out(0)) && d.in(0).layout == d.out(0).layout,
            "affine: input and output differ in shape or layout");
    require(elements(d.in(1)) == view_.c && elements(d.in(2)) == view_.c,
            "affine: scale and shift must have one value per channel");
    with_activation(act_, [](auto) {});
    for (int i = 1; i <= 2; i++)
      if (const float* c = d.constant(i)) constant_[i - 1].assign(c, c + view_.c);
  }
  void run(const Args& args) const override {
    const float* scale = constant_[0].empty() ? args.in[1] : constant_[0].data();
    const float* shift = constant_[1].empty() ? args.in[2] : constant_[1].data();
    const View& v = view_;
    with_activation(act_, [&](auto f) {
      const int64_t size = v.space * v.lanes;
      parallel(v.n * v.blocks, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
        for (int64_t nb = from; nb < to; nb++) {
          const int64_t block = nb % v.blocks, used = v.used(block);
          const float* x = args.in[0] + nb * size;
          float* y = args.out[0] + nb * size;
          if (!v.blocked) {
            const float s = scale[block], t = shift[block];
#pragma omp simd
            for (int64_t i = 0; i < size; i++) y[i] = f(x[i] * s + t);
            continue;
          }
          float s[kBlock] = {}, t[kBlock] = {}, mask[kBlock] = {};
          for (int64_t l = 0; l < used; l++) {
            s[l] = scale[block * kBlock + l];
            t[l] = shift[block * kBlock + l];
            mask[l] = 1.0f;
          }
          for (int64_t i = 0; i < size; i += kBlock) {
#pragma omp simd
            for (int64_t l = 0; l < kBlock; l++)
              y[i + l] = mask[l] != 0.0f ? f(x[i + l] * s[l] + t[l]) : 0.0f;
          }
        }
      });
    });
  }

 private:
  View view_;
  trtact_activation act_;
  std::vector<float> constant_[2];
};

}  // namespace

std::unique_ptr<Op> make_unary(const Desc& d) { return std::make_unique<Unary>(d); }
std::unique_ptr<Op> make_binary(const Desc& d) { return std::make_unique<Binary>(d); }
std::unique_ptr<Op> make_affine(const Desc& d) { return std::make_unique<Affine>(d); }

}  // namespace trtact::cpu
