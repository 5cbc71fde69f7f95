// A pooling window over three dimensions, inside a kernel.
#pragma once

#include "../kernels/window.h"
#include "op.h"

namespace trtact::cuda {

// Missing leading dimensions have size 1.
struct Window {
  WindowAxis axis[3];

  // x is what is pooled, y the result.
  Window(const trtact_pool& p, const trtact_tensor& x, const trtact_tensor& y) {
    require_window(p.spatial, p.kernel, p.stride, p.dilation);
    require(p.kind >= TRTACT_POOL_MAX && p.kind <= TRTACT_POOL_AVERAGE_WITH_PADDING, "pooling: unknown kind");
    require(x.rank == p.spatial + 2 && y.rank == x.rank && x.layout == y.layout && x.dims[0] == y.dims[0] &&
                x.dims[1] == y.dims[1],
            "pooling: input and output differ in more than spatial sizes");
    for (int i = 0; i < p.spatial; i++) axis[3 - p.spatial + i] = window_axis(p, x, y, i);
    for (const WindowAxis& a : axis)
      for (int32_t o = 0; o < a.out; o++) require(a.first(o) < a.last(o), "pooling: a window lies in the padding alone");
  }
  TRTACT_HD uint32_t in() const { return static_cast<uint32_t>(axis[0].in * axis[1].in * axis[2].in); }
  TRTACT_HD uint32_t out() const { return static_cast<uint32_t>(axis[0].out * axis[1].out * axis[2].out); }

  struct At {
    int32_t z, y, x;
  };
  TRTACT_HD At output(uint32_t o) const {
    const int32_t i = static_cast<int32_t>(o);
    return {i / (axis[1].out * axis[2].out), i / axis[2].out % axis[1].out, i % axis[2].out};
  }
  TRTACT_HD At input(uint32_t o) const {
    const int32_t i = static_cast<int32_t>(o);
    return {i / (axis[1].in * axis[2].in), i / axis[2].in % axis[1].in, i % axis[2].in};
  }
  // f(input position) for every tap of an output's window that lies inside, in order.
  template <class F>
  TRTACT_HD void taps(At o, F& f) const {
    const int32_t z_end = axis[0].last(o.z), y_end = axis[1].last(o.y), x_end = axis[2].last(o.x);
    for (int32_t i = axis[0].first(o.z); i < z_end; i++)
      for (int32_t j = axis[1].first(o.y); j < y_end; j++) {
        const int32_t row = (axis[0].index(o.z, i) * axis[1].in + axis[1].index(o.y, j)) * axis[2].in;
        for (int32_t k = axis[2].first(o.x); k < x_end; k++) f(row + axis[2].index(o.x, k));
      }
  }
  // f(output position, its indices) for every window that holds an input, in order.
  template <class F>
  TRTACT_HD void windows(At i, F& f) const {
    for (int32_t tz = axis[0].kernel - 1; tz >= 0; tz--) {
      const int32_t z = axis[0].output_of(i.z, tz);
      if (z < 0) continue;
      for (int32_t ty = axis[1].kernel - 1; ty >= 0; ty--) {
        const int32_t y = axis[1].output_of(i.y, ty);
        if (y < 0) continue;
        for (int32_t tx = axis[2].kernel - 1; tx >= 0; tx--) {
          const int32_t x = axis[2].output_of(i.x, tx);
          if (x >= 0) f((z * axis[1].out + y) * axis[2].out + x, At{z, y, x});
        }
      }
    }
  }
  // Taps of a window that count in its average.
  TRTACT_HD int32_t count(At o, bool with_padding) const {
    if (with_padding) return axis[0].kernel * axis[1].kernel * axis[2].kernel;
    return (axis[0].last(o.z) - axis[0].first(o.z)) * (axis[1].last(o.y) - axis[1].first(o.y)) *
           (axis[2].last(o.x) - axis[2].first(o.x));
  }
};

}  // namespace trtact::cuda
