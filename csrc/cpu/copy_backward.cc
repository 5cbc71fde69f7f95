// The gradient of strided copies: every part is run the other way round and adds
// to what it meets. Dimensions along which the forward pass read one element many
// times (a stride of 0) are summed first; the others go to threads unless they,
// too, may meet.
#include <algorithm>
#include <cstdlib>

#include "op.h"
#include "trtact/training.h"

namespace trtact::cpu {
namespace {

class CopyBackward : public Op {
 public:
  explicit CopyBackward(const Desc& d) : size_(elements(d.out(0))) {
    const auto& p = d.params<trtact_copy_backward>();
    require(d.in(0).layout == TRTACT_PLAIN && d.out(0).layout == TRTACT_PLAIN,
            "copy backward: tensors must be row-major");
    for (int i = 0; i < p.forward.n_parts; i++)
      if (p.forward.parts[i].input == p.input) add(p.forward.parts[i], elements(d.in(0)));
  }
  void run(const Args& args) const override {
    float* dx = args.out[0];
    parallel(size_, kGrain, [&](int64_t from, int64_t to) { std::fill(dx + from, dx + to, 0.0f); });
    for (const Part& p : parts_) run_part(p, args.in[0], dx);
  }

 private:
  struct Dim {
    int64_t size, x, y; // strides in dx and dy
  };
  struct Part {
    std::vector<Dim> moved, summed; // outermost first
    int64_t x, y;                   // offsets
    bool apart;                     // no two indices of moved meet in dx
  };

  void add(const trtact_copy_part& c, int64_t dy_size) {
    require(c.rank >= 0 && c.rank <= TRTACT_MAX_RANK, "copy backward: a part is malformed");
    Part p{{}, {}, c.in_offset, c.out_offset, true};
    int64_t x_low = p.x, x_high = p.x, y_low = p.y, y_high = p.y;
    for (int i = 0; i < c.rank; i++) {
      if (c.dims[i] == 0) return;
      (c.in_stride[i] < 0 ? x_low : x_high) += (c.dims[i] - 1) * c.in_stride[i];
      (c.out_stride[i] < 0 ? y_low : y_high) += (c.dims[i] - 1) * c.out_stride[i];
      if (c.dims[i] == 1) continue;
      const Dim dim{c.dims[i], c.in_stride[i], c.out_stride[i]};
      (dim.x == 0 ? p.summed : p.moved).push_back(dim);
    }
    require(x_low >= 0 && x_high < size_, "copy backward: a part leaves dx");
    require(y_low >= 0 && y_high < dy_size, "copy backward: a part leaves dy");
    // Apart when each stride steps over all that the smaller ones reach.
    std::vector<Dim> order = p.moved;
    std::sort(order.begin(), order.end(), [](const Dim& a, const Dim& b) { return std::abs(a.x) < std::abs(b.x); });
    int64_t reach = 0;
    for (const Dim& dim : order) {
      if (std::abs(dim.x) <= reach) p.apart = false;
      reach += (dim.size - 1) * std::abs(dim.x);
    }
    if (p.moved.empty()) p.moved.push_back({1, 0, 0});
    parts_.push_back(p);
  }

  static void run_part(const Part& p, const float* dy, float* dx) {
    const int last = static_cast<int>(p.moved.size()) - 1;
    const Dim inner = p.moved[last];
    int64_t rows = 1, terms = 1;
    for (int i = 0; i < last; i++) rows *= p.moved[i].size;
    for (const Dim& d : p.summed) terms *= d.size;
    const auto some = [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        int64_t x = p.x, y = p.y, rest = r;
        for (int i = last - 1; i >= 0; i--) {
          x += rest % p.moved[i].size * p.moved[i].x;
          y += rest % p.moved[i].size * p.moved[i].y;
          rest /= p.moved[i].size;
        }
        if (terms == 1 && inner.x == 1 && inner.y == 1) {
#pragma omp simd
          for (int64_t i = 0; i < inner.size; i++) dx[x + i] += dy[y + i];
          continue;
        }
        for (int64_t i = 0; i < inner.size; i++) dx[x + i * inner.x] += sum(p, dy + y + i * inner.y, terms);
      }
    };
    if (p.apart)
      parallel(rows, std::max<int64_t>(1, kGrain / (inner.size * terms)), some);
    else
      some(0, rows);
  }

  static float sum(const Part& p, const float* dy, int64_t terms) {
    if (terms == 1) return *dy;
    double all = 0;
    for (int64_t t = 0; t < terms; t++) {
      int64_t at = 0, rest = t;
      for (int i = static_cast<int>(p.summed.size()) - 1; i >= 0; i--) {
        at += rest % p.summed[i].size * p.summed[i].y;
        rest /= p.summed[i].size;
      }
      all += dy[at];
    }
    return static_cast<float>(all);
  }

  int64_t size_;
  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<Op> make_copy_backward(const Desc& d) { return std::make_unique<CopyBackward>(d); }

}  // namespace trtact::cpu
