#include "convolution.h"

#include <algorithm>

#include "../kernels/bf16.h"
#include "launch.h"

namespace trtact::cuda {
namespace {

// to[i] = from[i - shift], 0 where there is none: moves boxes into others.
template <class From, class To>
struct MoveBox {
  const From* from;
  To* to;
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
    to[i] = inside ? static_cast<To>(static_cast<float>(
                         from[static_cast<size_t>(plane) * from_plane +
                              (static_cast<uint32_t>(z) * from_size[1] + static_cast<uint32_t>(y)) * from_size[2] +
                              static_cast<uint32_t>(x)]))
                   : static_cast<To>(0.0f);
  }
};

template <class From, class To>
void move_box(Lane& lane, const From* from, To* to, int64_t planes, const int64_t* from_size, const int64_t* to_size,
              const int64_t* begin, int sign) {
  MoveBox<From, To> m{from, to, {}, {}, {}, 1, 1};
  for (int i = 0; i < 3; i++) {
    m.from_size[i] = static_cast<uint32_t>(from_size[i]);
    m.to_size[i] = static_cast<uint32_t>(to_size[i]);
    m.shift[i] = static_cast<int32_t>(sign * begin[i]);
    m.from_plane *= m.from_size[i];
    m.to_plane *= m.to_size[i];
  }
  TRTACT_EACH(lane.stream, planes * m.to_plane, m);
}

template <class From, class To>
struct Convert {
  const From* from;
  To* to;
  TRTACT_HD float load(uint32_t i) const { return static_cast<float>(from[i]); }
  TRTACT_HD void store(uint32_t i, float v) const { to[i] = static_cast<To>(v); }
};

int64_t product(const int64_t* size) { return size[0] * size[1] * size[2]; }

// A tensor that is not moved.
Operand::Box whole(const trtact_tensor& t) { return {1, {1, 1, elements(t)}, {1, 1, elements(t)}, {0, 0, 0}}; }

std::vector<int> row_major(const std::vector<int>& size) {
  std::vector<int> stride(size.size(), 1);
  for (size_t i = size.size() - 1; i > 0; i--) stride[i - 1] = stride[i] * size[i];
  return stride;
}

const float kOne = 1.0f, kZero = 0.0f;

}  // namespace

Operand::Operand(const Box& box, bool bf16, size_t* workspace)
    : box_(box), bf16_(bf16), at_(*workspace), size_(box.planes * product(box.tensor)),
      copy_size_(box.planes * product(box.copy)) {
  for (int i = 0; i < 3; i++) moved_ |= box.begin[i] != 0 || box.tensor[i] != box.copy[i];
  require(copy_size_ < (int64_t{1} << 31), "convolution: a padded tensor of more than 2^31 elements");
  if (copied()) *workspace += aligned(static_cast<size_t>(copy_size_) * (bf16 ? sizeof(Bf16) : sizeof(float)));
}

const void* Operand::read(Lane& lane, const float* tensor, char* workspace) const {
  if (!copied()) return tensor;
  char* copy = workspace + at_;
  if (!bf16_)
    move_box(lane, tensor, reinterpret_cast<float*>(copy), box_.planes, box_.tensor, box_.copy, box_.begin, 1);
  else if (moved_)
    move_box(lane, tensor, reinterpret_cast<Bf16*>(copy), box_.planes, box_.tensor, box_.copy, box_.begin, 1);
  else
    TRTACT_MAP(lane.stream, size_, Convert<float, Bf16>{tensor, reinterpret_cast<Bf16*>(copy)});
  return copy;
}

void Operand::finish(Lane& lane, float* tensor, char* workspace) const {
  if (!copied()) return;
  const char* copy = workspace + at_;
  if (!bf16_)
    move_box(lane, reinterpret_cast<const float*>(copy), tensor, box_.planes, box_.copy, box_.tensor, box_.begin, -1);
  else if (moved_)
    move_box(lane, reinterpret_cast<const Bf16*>(copy), tensor, box_.planes, box_.copy, box_.tensor, box_.begin, -1);
  else
    TRTACT_MAP(lane.stream, size_, Convert<Bf16, float>{reinterpret_cast<const Bf16*>(copy), tensor});
}

Convolution::Convolution(Device& device, const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& w,
                         const trtact_tensor& y, Pass pass, int32_t math)
    : x_desc_(cudnn().create_tensor, cudnn().destroy_tensor),
      y_desc_(cudnn().create_tensor, cudnn().destroy_tensor),
      w_desc_(cudnn().create_filter, cudnn().destroy_filter),
      conv_(cudnn().create_conv, cudnn().destroy_conv) {
  require_window(p.spatial, p.kernel, p.stride, p.dilation);
  const int rank = p.spatial + 2;
  require(x.rank == rank && y.rank == rank && w.rank == rank, "convolution: ranks differ");
  require(p.groups > 0 && x.dims[1] % p.groups == 0 && y.dims[1] % p.groups == 0 && w.dims[0] == y.dims[1] &&
              w.dims[1] == x.dims[1] / p.groups && x.dims[0] == y.dims[0],
          "convolution: weights differ from the tensors' channels");
  bool moved = false; // x is cut or padded
  for (int i = 0; i < p.spatial; i++) {
    require(w.dims[2 + i] == p.kernel[i], "convolution: weights differ from the kernel's size");
    const int64_t in = x.dims[2 + i], out = y.dims[2 + i], reach = (p.kernel[i] - 1) * p.dilation[i] + 1;
    const int64_t begin = p.pad_begin[i], room = in + 2 * begin - reach;
    // Every window must touch the tensor's neighbourhood that the parameters name.
    require((out - 1) * p.stride[i] + reach - begin <= in + std::max<int64_t>(p.pad_end[i], 0) + p.stride[i],
            "convolution: the output does not fit the input");
    moved |= begin < 0 || room < 0 || room / p.stride[i] + 1 != out;
  }
  if (Depthwise::serves(p, x, y)) {
    depthwise_.emplace(p, x, y);
    dnn_bytes_ = pass == kWeights ? depthwise_->workspace_bytes() : 0;
    info_ = "depthwise";
    return;
  }
  std::vector<int> pad, stride, dilation, xs{static_cast<int>(x.dims[0]), static_cast<int>(x.dims[1])};
  std::vector<int> ys{static_cast<int>(y.dims[0]), static_cast<int>(y.dims[1])};
  std::vector<int> ws{static_cast<int>(w.dims[0]), static_cast<int>(w.dims[1])};
  Operand::Box box{x.dims[0] * x.dims[1], {1, 1, 1}, {1, 1, 1}, {0, 0, 0}};
  for (int i = 0; i < p.spatial; i++) {
    const int k = 3 - p.spatial + i;
    const int64_t in = x.dims[2 + i], out = y.dims[2 + i], reach = (p.kernel[i] - 1) * p.dilation[i] + 1;
    box.tensor[k] = in;
    box.copy[k] = moved ? (out - 1) * p.stride[i] + reach : in;
    box.begin[k] = moved ? p.pad_begin[i] : 0;
    xs.push_back(static_cast<int>(box.copy[k]));
    ys.push_back(static_cast<int>(out));
    ws.push_back(static_cast<int>(p.kernel[i]));
    pad.push_back(moved ? 0 : static_cast<int>(p.pad_begin[i]));
    stride.push_back(static_cast<int>(p.stride[i]));
    dilation.push_back(static_cast<int>(p.dilation[i]));
  }
  if (p.spatial == 1) { // cuDNN begins at two
    for (auto* list : {&xs, &ys, &ws, &stride, &dilation}) list->push_back(1);
    pad.push_back(0);
  }
  const Dnn& dnn = cudnn();
  const int dims = static_cast<int>(xs.size());
  check_dnn(dnn.set_conv(conv_.get(), dims - 2, pad.data(), stride.data(), dilation.data(), CUDNN_CROSS_CORRELATION,
                         CUDNN_DATA_FLOAT),
            "cudnnSetConvolutionNdDescriptor");
  check_dnn(dnn.set_groups(conv_.get(), static_cast<int>(p.groups)), "cudnnSetConvolutionGroupCount");
  const auto try_as = [&](bool bf16, int math_type) {
    copies_bytes_ = 0;
    x_.emplace(box, bf16, &copies_bytes_);
    w_.emplace(whole(w), bf16, &copies_bytes_);
    y_.emplace(whole(y), bf16, &copies_bytes_);
    const int type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    check_dnn(dnn.set_tensor(x_desc_.get(), type, dims, xs.data(), row_major(xs).data()), "cudnnSetTensorNdDescriptor");
    check_dnn(dnn.set_tensor(y_desc_.get(), type, dims, ys.data(), row_major(ys).data()), "cudnnSetTensorNdDescriptor");
    check_dnn(dnn.set_filter(w_desc_.get(), type, CUDNN_TENSOR_NCHW, dims, ws.data()), "cudnnSetFilterNdDescriptor");
    check_dnn(dnn.set_math(conv_.get(), math_type), "cudnnSetConvolutionMathType");
    return choose(pass, device);
  };
  const bool bf16 = math == TRTACT_MATH_BF16 && p.groups == 1 && try_as(true, CUDNN_TENSOR_OP_MATH) == 0;
  if (!bf16)
    check_dnn(try_as(false, math == TRTACT_MATH_FP32 ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH), "a convolution's workspace");
  if (moved) info_ += " padded";
  if (bf16)
    info_ += " bf16";
  else if (math != TRTACT_MATH_FP32 && device.has_tf32())
    info_ += " tf32";
}

// The first algorithm that cuDNN has for this geometry, and its workspace; else cuDNN's
// status.
int Convolution::choose(Pass pass, Device& device) {
  const Dnn& dnn = cudnn();
  const Device::Lease lane(device);
  cudnnHandle_t h = lane->dnn();
  const auto first = [&](const char* what, std::initializer_list<int> algorithms, const auto& workspace_of) {
    int status = 0;
    for (const int a : algorithms) {
      size_t bytes = 0;
      if ((status = workspace_of(a, &bytes)) != 0) continue;
      algorithm_ = a;
      dnn_bytes_ = aligned(bytes);
      info_ = "cudnn " + std::string(what) + " " + std::to_string(a);
      return 0;
    }
    return status;
  };
  switch (pass) {
    case kForward:
      return first("forward", {CUDNN_FWD_IMPLICIT_PRECOMP_GEMM, CUDNN_FWD_IMPLICIT_GEMM}, [&](int a, size_t* n) {
        return dnn.forward_workspace(h, x_desc_.get(), w_desc_.get(), conv_.get(), y_desc_.get(), a, n);
      });
    case kData:
      return first("backward data", {CUDNN_BWD_DATA_ALGO_1}, [&](int a, size_t* n) {
        return dnn.data_workspace(h, w_desc_.get(), y_desc_.get(), conv_.get(), x_desc_.get(), a, n);
      });
    case kWeights:
      return first("backward filter", {CUDNN_BWD_FILTER_ALGO_1}, [&](int a, size_t* n) {
        return dnn.filter_workspace(h, x_desc_.get(), y_desc_.get(), conv_.get(), w_desc_.get(), a, n);
      });
  }
  return 0;
}

void Convolution::forward(Lane& lane, const float* x, const float* w, float* y, char* workspace) const {
  if (depthwise_) return depthwise_->forward(lane, x, w, y);
  const void *from = x_->read(lane, x, workspace), *by = w_->read(lane, w, workspace);
  check_dnn(cudnn().forward(lane.dnn(), &kOne, x_desc_.get(), from, w_desc_.get(), by, conv_.get(), algorithm_,
                            workspace + copies_bytes_, dnn_bytes_, &kZero, y_desc_.get(), y_->write(y, workspace)),
            "cudnnConvolutionForward");
  y_->finish(lane, y, workspace);
}

void Convolution::data(Lane& lane, const float* dy, const float* w, float* dx, char* workspace) const {
  if (depthwise_) return depthwise_->data(lane, dy, w, dx);
  const void *from = y_->read(lane, dy, workspace), *by = w_->read(lane, w, workspace);
  check_dnn(cudnn().data(lane.dnn(), &kOne, w_desc_.get(), by, y_desc_.get(), from, conv_.get(), algorithm_,
                         workspace + copies_bytes_, dnn_bytes_, &kZero, x_desc_.get(), x_->write(dx, workspace)),
            "cudnnConvolutionBackwardData");
  x_->finish(lane, dx, workspace);
}

void Convolution::weights(Lane& lane, const float* x, const float* dy, float* dw, char* workspace) const {
  if (depthwise_) return depthwise_->weights(lane, x, dy, dw, workspace);
  const void *from = x_->read(lane, x, workspace), *by = y_->read(lane, dy, workspace);
  check_dnn(cudnn().filter(lane.dnn(), &kOne, x_desc_.get(), from, y_desc_.get(), by, conv_.get(), algorithm_,
                           workspace + copies_bytes_, dnn_bytes_, &kZero, w_desc_.get(), w_->write(dw, workspace)),
            "cudnnConvolutionBackwardFilter");
  w_->finish(lane, dw, workspace);
}

}  // namespace trtact::cuda
