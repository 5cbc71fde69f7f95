// Resize as separable interpolation from tables, and its gradient by the same tables
// turned round: every element gathers, none is added to by two threads.
#include "launch.h"
#include "op.h"
#include "trtact/training.h"

namespace trtact::cuda {
namespace {

// For every place of one side: how many of the other it is made of, which, with which
// weights. from has one entry more than there are places.
struct Taps {
  const int32_t *from, *index;
  const float* weight;
};

struct Gather {
  const float* x;
  float* y;
  Taps axis[3];
  uint32_t in[3], out[3], in_plane, out_plane;

  TRTACT_HD void operator()(uint32_t i) const {
    const float* plane = x + static_cast<size_t>(i / out_plane) * in_plane;
    const uint32_t o = i % out_plane;
    const uint32_t at[3] = {o / (out[1] * out[2]), o / out[2] % out[1], o % out[2]};
    float sum = 0;
    for (int32_t z = axis[0].from[at[0]]; z < axis[0].from[at[0] + 1]; z++)
      for (int32_t r = axis[1].from[at[1]]; r < axis[1].from[at[1] + 1]; r++) {
        const float weight = axis[0].weight[z] * axis[1].weight[r];
        const float* line = plane + (static_cast<uint32_t>(axis[0].index[z]) * in[1] +
                                     static_cast<uint32_t>(axis[1].index[r])) * in[2];
        for (int32_t k = axis[2].from[at[2]]; k < axis[2].from[at[2] + 1]; k++)
          sum += weight * axis[2].weight[k] * line[axis[2].index[k]];
      }
    y[i] = sum;
  }
};

class Resize : public Op {
 public:
  // x is what the forward pass reads, y what it writes.
  Resize(const trtact_resize& p, const trtact_tensor& x, const trtact_tensor& y, bool backward)
      : size_(elements(backward ? x : y)) {
    require(x.rank == y.rank && x.rank == p.spatial + 2 && x.layout == y.layout && x.dims[0] == y.dims[0] &&
                x.dims[1] == y.dims[1],
            "resize: input and output differ in more than spatial sizes");
    require(p.spatial >= 1 && p.spatial <= 3, "resize: 1 to 3 spatial dimensions");
    g_ = Gather{nullptr, nullptr, {}, {1, 1, 1}, {1, 1, 1}, 1, 1};
    for (int i = 0; i < 3; i++) {
      const int s = i - (3 - p.spatial);
      if (s < 0) {
        add(i, {{{0, 1.0f}}});
        continue;
      }
      const int64_t in = x.dims[2 + s], out = y.dims[2 + s];
      require(p.taps[s] >= 1, "resize: no taps");
      std::vector<std::vector<Tap>> taps(static_cast<size_t>(backward ? in : out));
      for (int64_t o = 0; o < out; o++)
        for (int64_t t = o * p.taps[s]; t < (o + 1) * p.taps[s]; t++) {
          const int32_t from = p.index[s][t];
          require(from >= 0 && from < in, "resize: an index leaves the input");
          if (backward)
            taps[static_cast<size_t>(from)].push_back({static_cast<int32_t>(o), p.weight[s][t]});
          else
            taps[static_cast<size_t>(o)].push_back({from, p.weight[s][t]});
        }
      add(i, taps);
      g_.in[i] = static_cast<uint32_t>(backward ? out : in);
      g_.out[i] = static_cast<uint32_t>(backward ? in : out);
      g_.in_plane *= g_.in[i];
      g_.out_plane *= g_.out[i];
    }
  }
  void run(const Args& args) const override {
    Gather g = g_;
    g.x = args.in[0];
    g.y = args.out[0];
    TRTACT_EACH(args.lane.stream, size_, g);
  }

 private:
  struct Tap {
    int32_t index;
    float weight;
  };
  void add(int axis, const std::vector<std::vector<Tap>>& taps) {
    std::vector<int32_t> from{0}, index;
    std::vector<float> weight;
    for (const auto& list : taps) {
      for (const Tap& t : list) {
        index.push_back(t.index);
        weight.push_back(t.weight);
      }
      from.push_back(static_cast<int32_t>(index.size()));
    }
    Memory* m = memory_[axis];
    m[0] = Memory(from);
    m[1] = Memory(index);
    m[2] = Memory(weight);
    g_.axis[axis] = {m[0].get<int32_t>(), m[1].get<int32_t>(), m[2].get<float>()};
  }

  int64_t size_;
  Gather g_;
  Memory memory_[3][3];
};

}  // namespace

std::unique_ptr<Op> make_resize(const Desc& d) {
  return std::make_unique<Resize>(d.params<trtact_resize>(), d.in(0), d.out(0), false);
}
std::unique_ptr<Op> make_resize_backward(const Desc& d) {
  return std::make_unique<Resize>(d.params<trtact_resize>(), d.out(0), d.in(0), true);
}

}  // namespace trtact::cuda
