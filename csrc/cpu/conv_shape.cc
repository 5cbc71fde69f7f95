#include "conv_shape.h"

namespace trtact::cpu {

ConvShape::ConvShape(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& w,
                     const trtact_tensor& y, bool transposed) {
  require_window(p.spatial, p.kernel, p.stride, p.dilation);
  require(x.rank == p.spatial + 2 && y.rank == x.rank && w.rank == x.rank,
          "convolution: ranks differ");
  const int64_t g = p.groups;
  require(g >= 1 && x.dims[1] % g == 0 && y.dims[1] % g == 0,
          "convolution: channels are not a multiple of groups");
  require(w.dims[0] % g == 0, "convolution: weights are not a multiple of groups");
  // Row-major [A][B][k]: A = O (transposed: C), B = C/g (transposed: O/g).
  const int64_t a = w.dims[0] / g, b = w.dims[1];
  const int64_t out = transposed ? b : a, in = transposed ? a : b;
  require(x.dims[1] == in * g && y.dims[1] == out * g,
          "convolution: weights differ from the tensors' channels");
  int64_t spatial = 1;
  for (int i = 0; i < p.spatial; i++) {
    require(w.dims[2 + i] == p.kernel[i], "convolution: weights differ from the kernel's size");
    stride.push_back(p.stride[i]);
    dilation.push_back(p.dilation[i] - 1);
    begin.push_back(p.pad_begin[i]);
    end.push_back(p.pad_end[i]);
    spatial *= p.kernel[i];
  }
  dnnl::memory::dims dims{out, in}, strides;
  if (transposed)
    strides = {spatial, b * spatial};
  else
    strides = {b * spatial, spatial};
  int64_t step = spatial;
  for (int i = 0; i < p.spatial; i++) {
    dims.push_back(p.kernel[i]);
    step /= p.kernel[i];
    strides.push_back(step);
  }
  if (g > 1) {
    dims.insert(dims.begin(), g);
    strides.insert(strides.begin(), a * b * spatial);
  }
  weights = dnnl::memory::desc(dims, dnnl::memory::data_type::f32, strides);
}

int slowness(const std::string& info, int64_t groups) {
  if (info.find("ref") != std::string::npos) return 2;
  return groups > 1 && info.find("gemm") != std::string::npos ? 1 : 0;
}

}  // namespace trtact::cpu
