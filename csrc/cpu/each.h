// Loops over all elements of a tensor that serve both layouts, and sums over
// them whose value does not depend on the number of threads.
#pragma once

#include <algorithm>

#include "op.h"

// After a lambda's parameters: what stands in an inner loop must become part of
// it, or the loop stays scalar.
#define TRTACT_INLINE __attribute__((always_inline))

namespace trtact::cpu {

// A constant input kept by the op, or the address given at each run.
class Input {
 public:
  Input() = default;
  Input(const Desc& d, int i) : i_(i) {
    if (const float* c = d.constant(i)) kept_.assign(c, c + elements(d.in(i)));
  }
  const float* of(const Args& args) const { return kept_.empty() ? args.in[i_] : kept_.data(); }

 private:
  int i_ = 0;
  std::vector<float> kept_;
};

// f(i, real) for every stored element i; real is false in padding lanes.
template <class F>
inline void each_element(const View& v, const F& f) {
  if (!v.padded()) {
    parallel(v.stored(), kGrain, [&](int64_t from, int64_t to) {
      const F g = f;
#pragma omp simd
      for (int64_t i = from; i < to; i++) g(i, true);
    });
    return;
  }
  const int64_t size = v.space * kBlock;
  parallel(v.n * v.blocks, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
    const F g = f;
    for (int64_t nb = from; nb < to; nb++) {
      const int64_t used = v.used(nb % v.blocks);
      float mask[kBlock];
      for (int64_t l = 0; l < kBlock; l++) mask[l] = l < used ? 1.0f : 0.0f;
      for (int64_t i = nb * size; i < (nb + 1) * size; i += kBlock) {
#pragma omp simd
        for (int64_t l = 0; l < kBlock; l++) g(i + l, mask[l] != 0.0f);
      }
    }
  });
}

// Two sums, made together.
struct Two {
  double a = 0, b = 0;
};

// Elements summed by one thread without interruption.
constexpr int64_t kPiece = 8192;

inline int64_t pieces_of(const View& v) {
  return v.padded() ? v.n * v.blocks : (v.stored() + kPiece - 1) / kPiece;
}

inline Two total(const Two* part, int64_t count) {
  Two sum;
  for (int64_t i = 0; i < count; i++) {
    sum.a += part[i].a;
    sum.b += part[i].b;
  }
  return sum;
}

// The sum of f(i, real), a Two, over every stored element. part has pieces_of(v)
// places.
template <class F>
inline Two sum_elements(const View& v, Two* part, const F& f) {
  const int64_t count = pieces_of(v);
  if (!v.padded()) {
    parallel(count, 2, [&](int64_t from, int64_t to) {
      const F g = f;
      for (int64_t p = from; p < to; p++) {
        double a = 0, b = 0;
        const int64_t end = std::min((p + 1) * kPiece, v.stored());
#pragma omp simd reduction(+ : a, b)
        for (int64_t i = p * kPiece; i < end; i++) {
          const Two t = g(i, true);
          a += t.a;
          b += t.b;
        }
        part[p] = {a, b};
      }
    });
    return total(part, count);
  }
  const int64_t size = v.space * kBlock;
  parallel(count, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
    const F g = f;
    for (int64_t nb = from; nb < to; nb++) {
      const int64_t used = v.used(nb % v.blocks);
      double a[kBlock] = {}, b[kBlock] = {}, mask[kBlock];
      for (int64_t l = 0; l < kBlock; l++) mask[l] = l < used ? 1 : 0;
      for (int64_t i = nb * size; i < (nb + 1) * size; i += kBlock) {
#pragma omp simd
        for (int64_t l = 0; l < kBlock; l++) {
          const Two t = g(i + l, mask[l] != 0);
          a[l] += t.a;
          b[l] += t.b;
        }
      }
      part[nb] = {};
      for (int64_t l = 0; l < used; l++) {
        part[nb].a += a[l];
        part[nb].b += b[l];
      }
    }
  });
  return total(part, count);
}

// The greatest of f(i, real), an integer of 0 or more, over every stored element. part
// has pieces_of(v) places.
template <class F>
inline int32_t greatest_element(const View& v, int32_t* part, const F& f) {
  const int64_t count = pieces_of(v), size = v.padded() ? v.space * kBlock : kPiece;
  parallel(count, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
    const F g = f;
    for (int64_t p = from; p < to; p++) {
      int32_t top = 0;
      if (v.padded()) {
        const int64_t used = v.used(p % v.blocks);
        int32_t tops[kBlock] = {}, mask[kBlock];
        for (int64_t l = 0; l < kBlock; l++) mask[l] = l < used ? 1 : 0;
        for (int64_t i = p * size; i < (p + 1) * size; i += kBlock) {
#pragma omp simd
          for (int64_t l = 0; l < kBlock; l++) {
            const int32_t t = g(i + l, mask[l] != 0);
            tops[l] = tops[l] > t ? tops[l] : t;
          }
        }
        top = *std::max_element(tops, tops + used);
      } else {
        const int64_t end = std::min((p + 1) * size, v.stored());
#pragma omp simd reduction(max : top)
        for (int64_t i = p * size; i < end; i++) {
          const int32_t t = g(i, true);
          top = top > t ? top : t;
        }
      }
      part[p] = top;
    }
  });
  return *std::max_element(part, part + count);
}

// For every (n, channel block, lane) the sum of f(i, block, lane), a Two, over
// space. out has v.n * v.blocks * v.lanes places; those of padding lanes are 0.
template <class F>
inline void sum_space(const View& v, Two* out, const F& f) {
  const int64_t size = v.space * v.lanes;
  parallel(v.n * v.blocks, std::max<int64_t>(1, kGrain / size), [&](int64_t from, int64_t to) {
    const F g = f;
    for (int64_t nb = from; nb < to; nb++) {
      const int64_t block = nb % v.blocks, used = v.used(block), first = nb * size;
      if (!v.blocked) {
        double a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
        for (int64_t s = 0; s < size; s++) {
          const Two t = g(first + s, block, int64_t{0});
          a += t.a;
          b += t.b;
        }
        out[nb] = {a, b};
        continue;
      }
      double a[kBlock] = {}, b[kBlock] = {};
      for (int64_t s = 0; s < size; s += kBlock) {
#pragma omp simd
        for (int64_t l = 0; l < kBlock; l++) {
          const Two t = g(first + s + l, block, l);
          a[l] += t.a;
          b[l] += t.b;
        }
      }
      for (int64_t l = 0; l < kBlock; l++)
        out[nb * kBlock + l] = l < used ? Two{a[l], b[l]} : Two{};
    }
  });
}

inline size_t bytes_of_sums(int64_t count) {
  return (static_cast<size_t>(count) * sizeof(Two) + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace trtact::cpu
