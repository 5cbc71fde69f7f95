// Broadcasting of two row-major operands as loops: dimensions of equal behaviour
// are merged, the innermost is contiguous or constant on each side.
#pragma once

#include <vector>

#include "tensor.h"

namespace trtact {

struct Loops {
  std::vector<int64_t> dims, a, b; // sizes and strides, outermost first

  void push(int64_t size, int64_t stride_a, int64_t stride_b) {
    if (size == 1) return;
    if (!dims.empty() && a.back() == stride_a * size && b.back() == stride_b * size) {
      dims.back() *= size;
      a.back() = stride_a;
      b.back() = stride_b;
      return;
    }
    dims.push_back(size);
    a.push_back(stride_a);
    b.push_back(stride_b);
  }
};

inline std::vector<int64_t> broadcast_strides(const trtact_tensor& t, const trtact_tensor& out) {
  std::vector<int64_t> strides(out.rank, 0);
  int64_t step = 1;
  for (int i = t.rank - 1, o = out.rank - 1; i >= 0; i--, o--) {
    require(t.dims[i] == out.dims[o] || t.dims[i] == 1, "binary: shapes do not broadcast");
    strides[o] = t.dims[i] == 1 ? 0 : step;
    step *= t.dims[i];
  }
  return strides;
}

inline Loops plain_loops(const trtact_tensor& a, const trtact_tensor& b, const trtact_tensor& out) {
  require(a.rank <= out.rank && b.rank <= out.rank, "binary: an input outranks the output");
  const auto sa = broadcast_strides(a, out), sb = broadcast_strides(b, out);
  Loops loops;
  for (int i = 0; i < out.rank; i++) loops.push(out.dims[i], sa[i], sb[i]);
  if (loops.dims.empty()) {
    loops.dims.push_back(1);
    loops.a.push_back(0);
    loops.b.push_back(0);
  }
  return loops;
}

}  // namespace trtact
