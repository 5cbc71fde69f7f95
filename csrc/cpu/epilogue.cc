#include "epilogue.h"

#include "../kernels/quantize.h"
#include "activate.h"

namespace trtact::cpu {
namespace {

// Calls g with the function y = quantise?(act(acc * s + t)).
template <class G>
void with_function(const Epilogue& e, const G& g) {
  with_activation(e.act, [&](auto f) {
    if (e.quantize > 0) {
      const Grid<false> grid(e.quantize, -128.0f, 127.0f);
      g([=](float x, float s, float t) { return grid(f(x * s + t)); });
    } else {
      g([=](float x, float s, float t) { return f(x * s + t); });
    }
  });
}

}  // namespace

void finish_channels(const View& v, float* y, const Epilogue& e) {
  with_function(e, [&](auto h) {
    parallel_rows(v.n * v.blocks, v.space, v.lanes, [&](int64_t nb, int64_t from, int64_t to) {
      const int64_t block = nb % v.blocks, used = v.used(block), first = block * v.lanes;
      float* row = y + (nb * v.space + from) * v.lanes;
      const int64_t size = (to - from) * v.lanes;
      if (!v.blocked) {
        const float s = e.scale ? e.scale[first] : 1.0f, t = e.bias ? e.bias[first] : 0.0f;
#pragma omp simd
        for (int64_t i = 0; i < size; i++) row[i] = h(row[i], s, t);
        return;
      }
      float s[kBlock], t[kBlock];
      for (int64_t l = 0; l < kBlock; l++) {
        s[l] = l < used && e.scale ? e.scale[first + l] : 1.0f;
        t[l] = l < used && e.bias ? e.bias[first + l] : 0.0f;
      }
      if (used == kBlock) {
        for (int64_t i = 0; i < size; i += kBlock) {
#pragma omp simd
          for (int64_t l = 0; l < kBlock; l++) row[i + l] = h(row[i + l], s[l], t[l]);
        }
      } else {
        for (int64_t i = 0; i < size; i += kBlock)
          for (int64_t l = 0; l < used; l++) row[i + l] = h(row[i + l], s[l], t[l]);
      }
    });
  });
}

void finish_rows(int64_t rows, int64_t n, float* y, const Epilogue& e) {
  with_function(e, [&](auto h) {
    parallel(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        float* row = y + r * n;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
          row[i] = h(row[i], e.scale ? e.scale[i] : 1.0f, e.bias ? e.bias[i] : 0.0f);
      }
    });
  });
}

}  // namespace trtact::cpu
