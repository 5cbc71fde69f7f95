// The gradient of strided copies: every part is run the other way round and adds to what
// it meets. A thread has the elements of dy that come from one element of dx by a stride
// of 0. Where other indices may meet in dx as well (windows that overlap), those
// dimensions are run one after the other, so that no two threads add to one place.
#include <algorithm>
#include <cstdlib>

#include "launch.h"
#include "op.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

struct Dims {
  int32_t rank = 0;
  uint32_t size[TRTACT_MAX_RANK];
  int64_t x[TRTACT_MAX_RANK], y[TRTACT_MAX_RANK]; // strides in dx and dy

  void push(int64_t n, int64_t stride_x, int64_t stride_y) {
    size[rank] = static_cast<uint32_t>(n);
    x[rank] = stride_x;
    y[rank++] = stride_y;
  }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= size[i];
    return n;
  }
  TRTACT_HD void offsets(uint32_t i, int64_t* at_x, int64_t* at_y) const {
    for (int32_t k = rank - 1; k >= 0; k--) {
      const uint32_t at = i % size[k];
      i /= size[k];
      *at_x += at * x[k];
      *at_y += at * y[k];
    }
  }
};

struct AddPart {
  const float* dy;
  float* dx;
  Dims moved, summed;
  uint32_t terms;
  TRTACT_HD void operator()(uint32_t i) const {
    int64_t x = 0, y = 0;
    moved.offsets(i, &x, &y);
    if (terms == 1) {
      dx[x] += dy[y];
      return;
    }
    double sum = 0;
    for (uint32_t t = 0; t < terms; t++) {
      int64_t none = 0, at = y;
      summed.offsets(t, &none, &at);
      sum += dy[at];
    }
    dx[x] += static_cast<float>(sum);
  }
};

class CopyBackward : public Op {
 public:
  explicit CopyBackward(const Desc& d) : size_(elements(d.out(0))) {
    const auto& p = d.params<trtact_copy_backward>();
    for (int i = 0; i < p.forward.n_parts; i++)
      if (p.forward.parts[i].input == p.input) add(p.forward.parts[i], elements(d.in(0)));
  }
  void run(const Args& args) const override {
    TRTACT_CUDA(cudaMemsetAsync(args.out[0], 0, static_cast<size_t>(size_) * sizeof(float), args.lane.stream));
    for (const Part& p : parts_) {
      const int64_t turns = p.in_turn.count();
      for (int64_t t = 0; t < turns; t++) {
        int64_t x = p.x, y = p.y;
        p.in_turn.offsets(static_cast<uint32_t>(t), &x, &y);
        TRTACT_EACH(args.lane.stream, p.moved.count(),
                    AddPart{args.in[0] + y, args.out[0] + x, p.moved, p.summed, static_cast<uint32_t>(p.summed.count())});
      }
    }
  }

 private:
  struct Part {
    Dims moved, summed, in_turn;
    int64_t x, y; // offsets
  };

  // No two indices meet when each stride steps over all that the smaller ones reach.
  static bool apart(const Dims& d) {
    std::vector<std::pair<int64_t, int64_t>> order; // stride, reach
    for (int i = 0; i < d.rank; i++) order.emplace_back(std::abs(d.x[i]), (d.size[i] - 1) * std::abs(d.x[i]));
    std::sort(order.begin(), order.end());
    int64_t reach = 0;
    for (const auto& [stride, own] : order) {
      if (stride <= reach) return false;
      reach += own;
    }
    return true;
  }

  void add(const trtact_copy_part& c, int64_t dy_size) {
    require(c.rank >= 0 && c.rank <= TRTACT_MAX_RANK, "copy backward: a part is malformed");
    Part p{{}, {}, {}, c.in_offset, c.out_offset};
    int64_t x_low = p.x, x_high = p.x, y_low = p.y, y_high = p.y;
    for (int i = 0; i < c.rank; i++) {
      if (c.dims[i] == 0) return;
      (c.in_stride[i] < 0 ? x_low : x_high) += (c.dims[i] - 1) * c.in_stride[i];
      (c.out_stride[i] < 0 ? y_low : y_high) += (c.dims[i] - 1) * c.out_stride[i];
      if (c.dims[i] > 1) (c.in_stride[i] == 0 ? p.summed : p.moved).push(c.dims[i], c.in_stride[i], c.out_stride[i]);
    }
    require(x_low >= 0 && x_high < size_, "copy backward: a part leaves dx");
    require(y_low >= 0 && y_high < dy_size, "copy backward: a part leaves dy");
    while (!apart(p.moved)) { // the shortest dimension goes in turn
      int shortest = 0;
      for (int i = 1; i < p.moved.rank; i++)
        if (p.moved.size[i] < p.moved.size[shortest]) shortest = i;
      const Dims before = p.moved;
      p.in_turn.push(before.size[shortest], before.x[shortest], before.y[shortest]);
      p.moved = Dims();
      for (int i = 0; i < before.rank; i++)
        if (i != shortest) p.moved.push(before.size[i], before.x[i], before.y[i]);
    }
    parts_.push_back(p);
  }

  int64_t size_;
  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<Op> make_copy_backward(const Desc& d) { return std::make_unique<CopyBackward>(d); }

}  // namespace trtact::cuda
