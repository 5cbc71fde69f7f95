// The weight gradient of a convolution without groups, for AVX2: tiles of output channels
// times input channels are summed in registers over a stretch of positions that stays in
// the cache. oneDNN's code for AVX2 reaches less than half of its rate; what it has for
// AVX-512 was not compared.
#pragma once

#include "../kernels/window.h"
#include "op.h"

namespace trtact::cpu {

class ConvWeights {
 public:
  static bool serves(const trtact_conv& p) { return kBlock == 8 && p.groups == 1 && p.spatial <= 2; }
  ConvWeights() = default;
  // x in its own layout, dy blocked whatever its own is.
  ConvWeights(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& dy);
  size_t workspace_bytes() const;
  // dw [O][C][k...]; dbias [O] may be null. The sums are the same for any number of threads.
  void run(const float* x, const float* dy, float* dw, float* dbias, float* workspace) const;

 private:
  // One tile at one tap of the window; jobs are numbered with the taps fastest.
  struct Job {
    int64_t block, blocks; // of output channels
    int64_t in, ins;       // input channels
    int64_t tap;
  };
  Job job(int64_t i) const;
  int64_t jobs() const { return tiles_ * quads_ * taps_; }
  bool adds_bias(const Job& j) const { return j.in == 0 && j.tap == 0; }
  // Adds rows [from, to) of one picture to a job's sums.
  void add(const Job& j, const float* x, const float* dy, int64_t from, int64_t to, float* sums) const;
  void add_bias(const Job& j, const float* dy, int64_t from, int64_t to, bool first, float* sums) const;
  void store(const Job& j, const float* sums, float* dw) const;

  View x_{trtact_tensor{}}, dy_{trtact_tensor{}};
  WindowAxis h_, w_;
  int64_t tiles_ = 0, quads_ = 0, taps_ = 0;
};

}  // namespace trtact::cpu
