// What every operator of the CPU backend is made of: the shape of a tensor in
// memory, the Op base class, and the factory of each kind.
//
// To add an operator: an entry in compute.h, one file here (or a line in the
// file of its family) and a line in ../common/operators.h.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "../common/tensor.h"
#include "gomp.h"

namespace trtact::cpu {

#if defined(__AVX512F__)
constexpr int64_t kBlock = 16;
#else
constexpr int64_t kBlock = 8;
#endif

constexpr size_t kAlignment = 64;

// A tensor's memory, seen as [n][channel blocks][space][lanes]. A PLAIN tensor
// has lanes 1 and as many blocks as channels, so code over this view serves both
// layouts.
struct View {
  int64_t n = 1, c = 1, space = 1; // logical
  int64_t blocks = 1, lanes = 1;
  bool blocked = false;

  explicit View(const trtact_tensor& t) : blocked(t.layout == TRTACT_BLOCKED) {
    if (t.rank > 0) n = t.dims[0];
    if (t.rank > 1) c = t.dims[1];
    for (int i = 2; i < t.rank; i++) space *= t.dims[i];
    lanes = blocked ? kBlock : 1;
    blocks = (c + lanes - 1) / lanes;
  }
  // Elements in memory, padding lanes included.
  int64_t stored() const { return n * blocks * space * lanes; }
  int64_t logical() const { return n * c * space; }
  // Lanes of block b that hold channels.
  int64_t used(int64_t b) const { return b + 1 < blocks ? lanes : c - b * lanes; }
  bool padded() const { return blocks * lanes != c; }
};

// The addresses of one run.
struct Args {
  const float* const* in;
  float* const* out;
  char* workspace;
};

class Op {
 public:
  virtual ~Op() = default;
  virtual void run(const Args& args) const = 0;
  size_t workspace_bytes = 0;
  std::string info;
};

// An op's description, and how many threads one run of it uses.
struct Desc : Description {
  int threads;
};

using Factory = std::unique_ptr<Op> (*)(const Desc&);
Factory find_factory(int32_t kind); // nullptr when unknown

// The number of threads that OpenMP uses on this system thread, for a while.
class Threads {
 public:
  explicit Threads(int n) : before_(omp_get_max_threads()) { omp_set_num_threads(n > 0 ? n : 1); }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;

 private:
  int before_;
};

// Splits [0, n) over the threads that the current run may use.
template <class F>
inline void parallel(int64_t n, int64_t grain, const F& f) {
  const int threads = static_cast<int>(
      std::min<int64_t>(omp_get_max_threads(), n / (grain > 0 ? grain : 1)));
  if (threads <= 1) {
    f(int64_t{0}, n);
    return;
  }
  struct Region {
    const F& f;
    int64_t n;
  } region{f, n};
  GOMP_parallel(
      [](void* p) {
        const auto& r = *static_cast<const Region*>(p);
        const int64_t t = omp_get_thread_num(), all = omp_get_num_threads();
        r.f(r.n * t / all, r.n * (t + 1) / all);
      },
      &region, static_cast<unsigned>(threads), 0);
}
constexpr int64_t kGrain = 16384; // elements worth a thread of their own

// Splits planes of space positions, n floats each. Every thread gets the same rows
// of all planes, as most of oneDNN's convolutions divide them, so that a core finds
// in its cache what it wrote. f(plane, from, to)
template <class F>
inline void parallel_rows(int64_t planes, int64_t space, int64_t n, const F& f) {
  constexpr int64_t kFewRows = 64;
  if (space < kFewRows) {
    parallel(planes, kGrain / (space * n), [&](int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p++) f(p, int64_t{0}, space);
    });
    return;
  }
  parallel(space, kGrain / (planes * n), [&](int64_t from, int64_t to) {
    for (int64_t p = 0; p < planes; p++) f(p, from, to);
  });
}

}  // namespace trtact::cpu
