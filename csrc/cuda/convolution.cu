#include "convolution.h"

#include <algorithm>

#include "launch.h"

namespace trtact::cuda {
namespace {

// Moves a box between a tensor and its padded form: to[i] = from[i - shift], 0 where
// there is none.
struct MoveBox {
  const float* from;
  float* to;
  uint32_t from_size[3], to_size[3];
  int32_t shift[3];
  uint32_t from_plane, to_plane;

  TRTACT_HD void operator()(uint32_t i) const {
    const uint32_t plane = i / to_plane, at = i % to_plane;
    const int32_t x = static_cast<int32_t>(at % to_size[2]) - shift[2];
    const int32_t y = static_cast<int32_t>(at / to_size[2] % to_size[1]) - shift[1];
    const int32_t z = static_cast<int32_t>(at / to_size[2] / to_size[1]) - shift[0];
    const bool inside = x >= 0 && y >= 0 && z >= 0 && x < static_cast<int32_t>(from_size[2]) &&
                        y < static_cast<int32_t>(from_size[1]) && z < static_cast<int32_t>(from_size[0]);
    to[i] = inside ? from[static_cast<size_t>(plane) * from_plane +
                          (static_cast<uint32_t>(z) * from_size[1] + static_cast<uint32_t>(y)) * from_size[2] +
                          static_cast<uint32_t>(x)]
                   : 0.0f;
  }
};

MoveBox move_box(const float* from, float* to, const int64_t* from_size, const int64_t* to_size, const int64_t* begin,
                 int sign) {
  MoveBox m{from, to, {}, {}, {}, 1, 1};
  for (int i = 0; i < 3; i++) {
    m.from_size[i] = static_cast<uint32_t>(from_size[i]);
    m.to_size[i] = static_cast<uint32_t>(to_size[i]);
    m.shift[i] = static_cast<int32_t>(sign * begin[i]);
    m.from_plane *= m.from_size[i];
    m.to_plane *= m.to_size[i];
  }
  return m;
}

std::vector<int> row_major(const std::vector<int>& size) {
  std::vector<int> stride(size.size(), 1);
  for (size_t i = size.size() - 1; i > 0; i--) stride[i - 1] = stride[i] * size[i];
  return stride;
}

const float kOne = 1.0f, kZero = 0.0f;

}  // namespace

Convolution::Convolution(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& w, const trtact_tensor& y,
                         bool forward, bool data, bool filter, Device& device)
    : planes_(x.dims[0] * x.dims[1]),
      x_(cudnn().create_tensor, cudnn().destroy_tensor),
      y_(cudnn().create_tensor, cudnn().destroy_tensor),
      w_(cudnn().create_filter, cudnn().destroy_filter),
      conv_(cudnn().create_conv, cudnn().destroy_conv) {
  require_window(p.spatial, p.kernel, p.stride, p.dilation);
  const int rank = p.spatial + 2;
  require(x.rank == rank && y.rank == rank && w.rank == rank, "convolution: ranks differ");
  require(p.groups > 0 && x.dims[1] % p.groups == 0 && y.dims[1] % p.groups == 0 && w.dims[0] == y.dims[1] &&
              w.dims[1] == x.dims[1] / p.groups && x.dims[0] == y.dims[0],
          "convolution: weights differ from the tensors' channels");
  std::vector<int> pad, stride, dilation, xs{static_cast<int>(x.dims[0]), static_cast<int>(x.dims[1])};
  std::vector<int> ys{static_cast<int>(y.dims[0]), static_cast<int>(y.dims[1])};
  std::vector<int> ws{static_cast<int>(w.dims[0]), static_cast<int>(w.dims[1])};
  for (int i = 0; i < 3; i++) axes_.x[i] = axes_.padded[i] = 1, axes_.begin[i] = 0;
  for (int i = 0; i < p.spatial; i++) {
    require(w.dims[2 + i] == p.kernel[i], "convolution: weights differ from the kernel's size");
    const int64_t in = x.dims[2 + i], out = y.dims[2 + i], reach = (p.kernel[i] - 1) * p.dilation[i] + 1;
    const int64_t begin = p.pad_begin[i], room = in + 2 * begin - reach;
    // Every window must touch the tensor's neighbourhood that the parameters name.
    require((out - 1) * p.stride[i] + reach - begin <= in + std::max<int64_t>(p.pad_end[i], 0) + p.stride[i],
            "convolution: the output does not fit the input");
    padded_ |= begin < 0 || room < 0 || room / p.stride[i] + 1 != out;
  }
  for (int i = 0; i < p.spatial; i++) {
    const int k = 3 - p.spatial + i;
    const int64_t in = x.dims[2 + i], out = y.dims[2 + i], reach = (p.kernel[i] - 1) * p.dilation[i] + 1;
    axes_.x[k] = in;
    axes_.padded[k] = padded_ ? (out - 1) * p.stride[i] + reach : in;
    axes_.begin[k] = padded_ ? p.pad_begin[i] : 0;
    xs.push_back(static_cast<int>(axes_.padded[k]));
    ys.push_back(static_cast<int>(out));
    ws.push_back(static_cast<int>(p.kernel[i]));
    pad.push_back(padded_ ? 0 : static_cast<int>(p.pad_begin[i]));
    stride.push_back(static_cast<int>(p.stride[i]));
    dilation.push_back(static_cast<int>(p.dilation[i]));
  }
  if (p.spatial == 1) { // cuDNN begins at two
    for (auto* list : {&xs, &ys, &ws, &stride, &dilation}) list->push_back(1);
    pad.push_back(0);
  }
  if (padded_) {
    int64_t plane = 1;
    for (int i = 0; i < 3; i++) plane *= axes_.padded[i];
    require(planes_ * plane < (int64_t{1} << 31), "convolution: a padded tensor of more than 2^31 elements");
    padded_bytes_ = aligned(static_cast<size_t>(planes_ * plane) * sizeof(float));
  }

  const Dnn& dnn = cudnn();
  const int dims = static_cast<int>(xs.size());
  check_dnn(dnn.set_tensor(x_.get(), CUDNN_DATA_FLOAT, dims, xs.data(), row_major(xs).data()), "cudnnSetTensorNdDescriptor");
  check_dnn(dnn.set_tensor(y_.get(), CUDNN_DATA_FLOAT, dims, ys.data(), row_major(ys).data()), "cudnnSetTensorNdDescriptor");
  check_dnn(dnn.set_filter(w_.get(), CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, dims, ws.data()), "cudnnSetFilterNdDescriptor");
  check_dnn(dnn.set_conv(conv_.get(), dims - 2, pad.data(), stride.data(), dilation.data(), CUDNN_CROSS_CORRELATION,
                         CUDNN_DATA_FLOAT),
            "cudnnSetConvolutionNdDescriptor");
  check_dnn(dnn.set_groups(conv_.get(), static_cast<int>(p.groups)), "cudnnSetConvolutionGroupCount");
  const bool tensor_cores = (p.integers && !data && !filter) || device.tf32();
  check_dnn(dnn.set_math(conv_.get(), tensor_cores ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH), "cudnnSetConvolutionMathType");

  // The first algorithm that cuDNN has for this geometry; its workspace.
  const Device::Lease lane(device);
  const auto choose = [&](const char* what, std::initializer_list<int> algorithms, const auto& workspace_of) {
    int status = 0;
    for (const int algorithm : algorithms) {
      size_t bytes = 0;
      if ((status = workspace_of(algorithm, &bytes)) != 0) continue;
      dnn_bytes_ = std::max(dnn_bytes_, aligned(bytes));
      info_ = "cudnn " + std::string(what) + " " + std::to_string(algorithm) + (padded_ ? " padded" : "") +
              (tensor_cores ? " tf32" : "");
      return algorithm;
    }
    check_dnn(status, what);
    return 0;
  };
  cudnnHandle_t h = lane->dnn();
  if (forward)
    forward_algorithm_ = choose("forward", {CUDNN_FWD_IMPLICIT_PRECOMP_GEMM, CUDNN_FWD_IMPLICIT_GEMM}, [&](int a, size_t* n) {
      return dnn.forward_workspace(h, x_.get(), w_.get(), conv_.get(), y_.get(), a, n);
    });
  if (data)
    data_algorithm_ = choose("backward data", {CUDNN_BWD_DATA_ALGO_1}, [&](int a, size_t* n) {
      return dnn.data_workspace(h, w_.get(), y_.get(), conv_.get(), x_.get(), a, n);
    });
  if (filter)
    filter_algorithm_ = choose("backward filter", {CUDNN_BWD_FILTER_ALGO_1}, [&](int a, size_t* n) {
      return dnn.filter_workspace(h, x_.get(), y_.get(), conv_.get(), w_.get(), a, n);
    });
}

const float* Convolution::pad(Lane& lane, const float* x, char* workspace) const {
  if (!padded_) return x;
  float* to = reinterpret_cast<float*>(workspace);
  const MoveBox m = move_box(x, to, axes_.x, axes_.padded, axes_.begin, 1);
  TRTACT_EACH(lane.stream, planes_ * m.to_plane, m);
  return to;
}

void Convolution::forward(Lane& lane, const float* x, const float* w, float* y, char* workspace) const {
  x = pad(lane, x, workspace);
  check_dnn(cudnn().forward(lane.dnn(), &kOne, x_.get(), x, w_.get(), w, conv_.get(), forward_algorithm_,
                            workspace + padded_bytes_, dnn_bytes_, &kZero, y_.get(), y),
            "cudnnConvolutionForward");
}

void Convolution::data(Lane& lane, const float* dy, const float* w, float* dx, char* workspace) const {
  float* to = padded_ ? reinterpret_cast<float*>(workspace) : dx;
  check_dnn(cudnn().data(lane.dnn(), &kOne, w_.get(), w, y_.get(), dy, conv_.get(), data_algorithm_,
                         workspace + padded_bytes_, dnn_bytes_, &kZero, x_.get(), to),
            "cudnnConvolutionBackwardData");
  if (!padded_) return;
  const MoveBox m = move_box(to, dx, axes_.padded, axes_.x, axes_.begin, -1);
  TRTACT_EACH(lane.stream, planes_ * m.to_plane, m);
}

void Convolution::filter(Lane& lane, const float* x, const float* dy, float* dw, char* workspace) const {
  x = pad(lane, x, workspace);
  check_dnn(cudnn().filter(lane.dnn(), &kOne, x_.get(), x, y_.get(), dy, conv_.get(), filter_algorithm_,
                           workspace + padded_bytes_, dnn_bytes_, &kZero, w_.get(), dw),
            "cudnnConvolutionBackwardFilter");
}

}  // namespace trtact::cuda
