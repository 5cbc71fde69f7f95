// Gradients of pooling: every input gathers from the windows that hold it, so no two
// threads add to one place and the order is always the same.
#include "reduce.h"
#include "window.h"

namespace trtact::cuda {
namespace {

// Where each window's first greatest element lies.
struct FindGreatest {
  const float* x;
  int32_t* at;
  Window window;
  uint32_t in, out;
  struct Search {
    const float* x;
    int32_t at;
    float top;
    TRTACT_HD void operator()(int32_t i) {
      const float v = x[i];
      if (at < 0 || v > top || v != v) {
        at = i;
        top = v;
      }
    }
  };
  TRTACT_HD void operator()(uint32_t i) const {
    Search search{x + static_cast<size_t>(i / out) * in, -1, 0.0f};
    window.taps(window.output(i % out), search);
    at[i] = search.at;
  }
};

struct GatherGreatest {
  const float* dy;
  const int32_t* at;
  float* dx;
  Window window;
  uint32_t in, out;
  struct Gather {
    const float* dy;
    const int32_t* at;
    int32_t here;
    float sum;
    TRTACT_HD void operator()(int32_t o, Window::At) {
      if (at[o] == here) sum += dy[o];
    }
  };
  TRTACT_HD void operator()(uint32_t i) const {
    const size_t first = static_cast<size_t>(i / in) * out;
    Gather g{dy + first, at + first, static_cast<int32_t>(i % in), 0.0f};
    window.windows(window.input(i % in), g);
    dx[i] = g.sum;
  }
};

struct GatherAverage {
  const float* dy;
  float* dx;
  Window window;
  bool with_padding;
  uint32_t in, out;
  struct Gather {
    const float* dy;
    const Window& window;
    bool with_padding;
    float sum;
    TRTACT_HD void operator()(int32_t o, Window::At at) {
      sum += dy[o] * (1.0f / static_cast<float>(window.count(at, with_padding)));
    }
  };
  TRTACT_HD void operator()(uint32_t i) const {
    Gather g{dy + static_cast<size_t>(i / in) * out, window, with_padding, 0.0f};
    window.windows(window.input(i % in), g);
    dx[i] = g.sum;
  }
};

class PoolBackward : public Op {
 public:
  explicit PoolBackward(const Desc& d)
      : kind_(d.params<trtact_pool>().kind),
        window_(d.params<trtact_pool>(), d.out(0), d.in(kind_ == TRTACT_POOL_MAX ? 1 : 0)), size_(elements(d.out(0))),
        windows_(elements(d.in(kind_ == TRTACT_POOL_MAX ? 1 : 0))) {
    if (kind_ != TRTACT_POOL_MAX) return;
    require_same(d.in(0), d.out(0), "pooling backward: x and dx differ in shape or layout");
    workspace_bytes = aligned(static_cast<size_t>(windows_) * sizeof(int32_t));
  }
  void run(const Args& args) const override {
    const uint32_t in = window_.in(), out = window_.out();
    if (kind_ == TRTACT_POOL_MAX) {
      int32_t* at = reinterpret_cast<int32_t*>(args.workspace);
      TRTACT_EACH(args.lane.stream, windows_, FindGreatest{args.in[0], at, window_, in, out});
      TRTACT_EACH(args.lane.stream, size_, GatherGreatest{args.in[1], at, args.out[0], window_, in, out});
      return;
    }
    TRTACT_EACH(args.lane.stream, size_,
                GatherAverage{args.in[0], args.out[0], window_, kind_ == TRTACT_POOL_AVERAGE_WITH_PADDING, in, out});
  }

 private:
  int32_t kind_;
  Window window_;
  int64_t size_, windows_;
};

struct Place1 {
  float value;
  uint32_t at;
};
struct Greatest {
  using Value = Place1;
  TRTACT_HD Place1 zero() const { return {-INFINITY, 0xffffffffu}; }
  TRTACT_HD Place1 operator()(Place1 a, Place1 b) const {
    if (a.value != a.value || b.value != b.value) return a.value != a.value ? a : b;
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
  }
};
struct PlacedElement {
  const float* x;
  uint32_t space;
  TRTACT_HD Place1 load(uint32_t plane, uint32_t i) const {
    return {x[static_cast<size_t>(plane) * space + i], i};
  }
};
struct StorePlace {
  uint32_t* at;
  TRTACT_HD void operator()(uint32_t plane, Place1 p) const { at[plane] = p.at; }
};
struct SpreadPlane {
  const float* dy;
  const uint32_t* at; // null: to all alike
  float* dx;
  uint32_t space;
  TRTACT_HD void operator()(uint32_t i) const {
    const uint32_t plane = i / space;
    dx[i] = !at ? dy[plane] / static_cast<float>(space) : at[plane] == i % space ? dy[plane] : 0.0f;
  }
};

class GlobalPoolBackward : public Op {
 public:
  explicit GlobalPoolBackward(const Desc& d) : view_(d.out(0)), max_(d.params<trtact_reduce>().kind == TRTACT_REDUCE_MAX) {
    require(max_ || d.params<trtact_reduce>().kind == TRTACT_REDUCE_MEAN, "global pooling backward: mean or max");
    const View dy(d.in(max_ ? 1 : 0));
    require(dy.space == 1 && dy.n == view_.n && dy.c == view_.c,
            "global pooling backward: dy must be one value per channel");
    if (!max_) return;
    require_same(d.in(0), d.out(0), "global pooling backward: x and dx differ in shape or layout");
    workspace_bytes = aligned(static_cast<size_t>(view_.n * view_.c) * sizeof(uint32_t));
  }
  void run(const Args& args) const override {
    const uint32_t space = static_cast<uint32_t>(view_.space);
    uint32_t* at = max_ ? reinterpret_cast<uint32_t*>(args.workspace) : nullptr;
    if (max_)
      reduce_rows<Greatest>(TRTACT_PLACE(global_greatest), args.lane.stream, view_.n * view_.c, view_.space,
                            PlacedElement{args.in[0], space}, StorePlace{at});
    TRTACT_EACH(args.lane.stream, view_.size(), SpreadPlane{args.in[max_ ? 1 : 0], at, args.out[0], space});
  }

 private:
  View view_;
  bool max_;
};

}  // namespace

std::unique_ptr<Op> make_pool_backward(const Desc& d) { return std::make_unique<PoolBackward>(d); }
std::unique_ptr<Op> make_global_pool_backward(const Desc& d) { return std::make_unique<GlobalPoolBackward>(d); }

}  // namespace trtact::cuda
