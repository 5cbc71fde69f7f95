#include "observe.h"

#include "../kernels/histogram.h"

namespace trtact::cpu {

float absmax(const trtact_tensor& t, const float* x) {
  const int64_t n = View(t).stored();
  int32_t top = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; i++) {
    const int32_t bits = magnitude_bits(x[i]);
    top = top > bits ? top : bits;
  }
  return of_bits(top);
}

// Four tables side by side: consecutive values often fall into one bin, and a
// counter must be written back before it can be read again.
void histogram(const trtact_tensor& t, const float* x, float upper, int64_t* bins, int n) {
  require(n > 0 && upper > 0, "histogram: needs bins and a positive range");
  const View v(t);
  const int64_t stored = v.stored();
  const float per_unit = static_cast<float>(n) / upper, last = static_cast<float>(n - 1);
  std::vector<uint32_t> count(4 * static_cast<size_t>(n), 0);
  uint32_t* const first = count.data();
  uint32_t *const second = first + n, *const third = second + n, *const fourth = third + n;
  constexpr int64_t kChunk = 1024;
  int32_t at[kChunk];
  for (int64_t i = 0; i < stored; i += kChunk) {
    const int64_t m = std::min(kChunk, stored - i);
#pragma omp simd
    for (int64_t j = 0; j < m; j++)
      at[j] = histogram_bin(x[i + j], per_unit, last);
    int64_t j = 0;
    for (; j + 4 <= m; j += 4) {
      first[at[j]]++;
      second[at[j + 1]]++;
      third[at[j + 2]]++;
      fourth[at[j + 3]]++;
    }
    for (; j < m; j++) first[at[j]]++;
  }
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 4; k++) bins[i] += count[static_cast<size_t>(k) * n + i];
  bins[0] -= stored - v.logical(); // padding lanes are zeros that nobody computed
}

void channel_sums(const trtact_tensor& t, const float* x, double* sums) {
  const View v(t);
  for (int64_t n = 0; n < v.n; n++)
    for (int64_t b = 0; b < v.blocks; b++) {
      const float* p = x + (n * v.blocks + b) * v.space * v.lanes;
      double sum[kBlock] = {};
      if (v.lanes == kBlock)
        for (int64_t s = 0; s < v.space; s++)
          for (int64_t l = 0; l < kBlock; l++) sum[l] += p[s * kBlock + l];
      else
        for (int64_t s = 0; s < v.space; s++) sum[0] += p[s];
      for (int64_t l = 0; l < v.used(b); l++) sums[b * v.lanes + l] += sum[l];
    }
}

}  // namespace trtact::cpu
