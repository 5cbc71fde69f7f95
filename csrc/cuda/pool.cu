// Pooling windows, a thread for each output, and pooling over all of space, a block for
// each channel. Overlapping windows read the same lines again, from the caches.
#include "../kernels/activation.h"
#include "reduce.h"
#include "window.h"

namespace trtact::cuda {
namespace {

struct PoolForward {
  const float* x;
  float* y;
  Window window;
  int32_t kind;
  uint32_t in, out;

  struct Most {
    const float* x;
    float top;
    TRTACT_HD void operator()(int32_t i) { top = maximum(top, x[i]); }
  };
  struct Total {
    const float* x;
    float sum;
    TRTACT_HD void operator()(int32_t i) { sum += x[i]; }
  };
  TRTACT_HD void operator()(uint32_t i) const {
    const float* plane = x + static_cast<size_t>(i / out) * in;
    const Window::At o = window.output(i % out);
    if (kind == TRTACT_POOL_MAX) {
      Most most{plane, -INFINITY};
      window.taps(o, most);
      y[i] = most.top;
      return;
    }
    Total total{plane, 0.0f};
    window.taps(o, total);
    y[i] = total.sum / static_cast<float>(window.count(o, kind == TRTACT_POOL_AVERAGE_WITH_PADDING));
  }
};

class Pool : public Op {
 public:
  explicit Pool(const Desc& d)
      : size_(elements(d.out(0))), kind_(d.params<trtact_pool>().kind),
        window_(d.params<trtact_pool>(), d.in(0), d.out(0)) {}
  void run(const Args& args) const override {
    TRTACT_EACH(args.lane.stream, size_, PoolForward{args.in[0], args.out[0], window_, kind_, window_.in(), window_.out()});
  }

 private:
  int64_t size_;
  int32_t kind_;
  Window window_;
};

struct PlaneElement {
  const float* x;
  uint32_t space;
  TRTACT_HD float load(uint32_t plane, uint32_t i) const { return x[static_cast<size_t>(plane) * space + i]; }
};
struct MaxFloat {
  using Value = float;
  TRTACT_HD float zero() const { return -INFINITY; }
  TRTACT_HD float operator()(float a, float b) const { return maximum(a, b); }
};
struct StoreMean {
  float* y;
  double space;
  TRTACT_HD void operator()(uint32_t plane, double sum) const { y[plane] = static_cast<float>(sum / space); }
};
struct StoreTop {
  float* y;
  TRTACT_HD void operator()(uint32_t plane, float top) const { y[plane] = top; }
};

class GlobalPool : public Op {
 public:
  explicit GlobalPool(const Desc& d) : in_(d.in(0)), kind_(d.params<trtact_reduce>().kind) {
    require(View(d.out(0)).space == 1 && View(d.out(0)).n == in_.n && View(d.out(0)).c == in_.c,
            "global pooling: the output must be one value per channel");
    require(kind_ == TRTACT_REDUCE_MEAN || kind_ == TRTACT_REDUCE_MAX, "global pooling: mean or max");
  }
  void run(const Args& args) const override {
    const PlaneElement element{args.in[0], static_cast<uint32_t>(in_.space)};
    if (kind_ == TRTACT_REDUCE_MEAN)
      reduce_rows<Add>(TRTACT_PLACE(global_mean), args.lane.stream, in_.n * in_.c, in_.space, element,
                       StoreMean{args.out[0], static_cast<double>(in_.space)});
    else
      reduce_rows<MaxFloat>(TRTACT_PLACE(global_max), args.lane.stream, in_.n * in_.c, in_.space, element,
                            StoreTop{args.out[0]});
  }

 private:
  View in_;
  int32_t kind_;
};

}  // namespace

std::unique_ptr<Op> make_pool(const Desc& d) { return std::make_unique<Pool>(d); }
std::unique_ptr<Op> make_global_pool(const Desc& d) { return std::make_unique<GlobalPool>(d); }

}  // namespace trtact::cuda
