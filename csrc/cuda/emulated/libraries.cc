// cuDNN's convolutions and cuBLAS's product by plain loops with sums in double
// precision, behind the same tables as the real ones. They are work of a stream like
// any kernel, so graphs hold them too.
#include "../libraries.h"

#include <vector>

#include "../../kernels/bf16.h"

namespace trtact::cuda {

struct cudnnContext {
  cudaStream_t stream;
};
struct cudnnTensorStruct {
  std::vector<int> size;
  int type;
};
struct cudnnFilterStruct {
  std::vector<int> size;
  int type;
};
struct cudnnConvolutionStruct {
  std::vector<int> pad, stride, dilation;
  int groups = 1, math = CUDNN_DEFAULT_MATH;
};
struct cublasContext {
  cudaStream_t stream;
};

namespace {

enum { kBadParameter = 3 };

float to_bf16(float v) { return static_cast<float>(Bf16(v)); }

// To 10 bits behind the point: BF16's rounding three bits further down.
float to_tf32(float v) {
  uint32_t u;
  memcpy(&u, &v, sizeof u);
  u = (u + 0xfff + (u >> 13 & 1)) & ~uint32_t{0x1fff};
  memcpy(&v, &u, sizeof v);
  return v;
}

// A convolution as three spatial dimensions.
struct Shape {
  bool bf16, tf32; // all tensors lie in BF16; factors are rounded to TF32
  int64_t n, c, o, groups;
  int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];

  // False when the descriptors do not fit each other.
  bool read(const cudnnTensorStruct& xd, const cudnnFilterStruct& wd, const cudnnTensorStruct& yd,
            const cudnnConvolutionStruct& conv) {
    const auto &x = xd.size, &w = wd.size, &y = yd.size;
    bf16 = xd.type == CUDNN_DATA_BFLOAT16;
    tf32 = !bf16 && conv.math == CUDNN_DEFAULT_MATH;
    if (wd.type != xd.type || yd.type != xd.type) return false;
    const int spatial = static_cast<int>(x.size()) - 2;
    if (spatial < 2 || spatial > 3 || w.size() != x.size() || y.size() != x.size() ||
        static_cast<int>(conv.pad.size()) != spatial)
      return false;
    n = x[0];
    c = x[1];
    o = y[1];
    groups = conv.groups;
    if (y[0] != n || w[0] != o || groups < 1 || c % groups || o % groups || w[1] != c / groups) return false;
    for (int i = 0; i < 3; i++) in[i] = out[i] = kernel[i] = stride[i] = dilation[i] = 1, pad[i] = 0;
    for (int i = 0; i < spatial; i++) {
      const int k = 3 - spatial + i;
      in[k] = x[2 + i];
      out[k] = y[2 + i];
      kernel[k] = w[2 + i];
      stride[k] = conv.stride[i];
      dilation[k] = conv.dilation[i];
      pad[k] = conv.pad[i];
      if (out[k] != (in[k] + 2 * pad[k] - (kernel[k] - 1) * dilation[k] - 1) / stride[k] + 1) return false;
    }
    return true;
  }
  float factor(const void* from, int64_t i) const {
    if (bf16) return static_cast<float>(static_cast<const Bf16*>(from)[i]);
    const float v = static_cast<const float*>(from)[i];
    return tf32 ? to_tf32(v) : v;
  }
  void store(const std::vector<double>& sum, void* to) const {
    for (size_t i = 0; i < sum.size(); i++) {
      const float v = static_cast<float>(sum[i]);
      if (bf16)
        static_cast<Bf16*>(to)[i] = Bf16(v);
      else
        static_cast<float*>(to)[i] = v;
    }
  }
  int64_t in_plane() const { return in[0] * in[1] * in[2]; }
  int64_t out_plane() const { return out[0] * out[1] * out[2]; }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }

  // f(input, output) for the places of a plane that tap k joins.
  template <class F>
  void join(int64_t k, const F& f) const {
    const int64_t at[3] = {k / (kernel[1] * kernel[2]), k / kernel[2] % kernel[1], k % kernel[2]};
    for (int64_t z = 0; z < out[0]; z++) {
      const int64_t iz = z * stride[0] - pad[0] + at[0] * dilation[0];
      if (iz < 0 || iz >= in[0]) continue;
      for (int64_t y = 0; y < out[1]; y++) {
        const int64_t iy = y * stride[1] - pad[1] + at[1] * dilation[1];
        if (iy < 0 || iy >= in[1]) continue;
        for (int64_t x = 0; x < out[2]; x++) {
          const int64_t ix = x * stride[2] - pad[2] + at[2] * dilation[2];
          if (ix >= 0 && ix < in[2]) f((iz * in[1] + iy) * in[2] + ix, (z * out[1] + y) * out[2] + x);
        }
      }
    }
  }
  // f(image, input channel, output channel, channel within the group) for all that meet.
  template <class F>
  void pairs(const F& f) const {
    for (int64_t i = 0; i < n; i++)
      for (int64_t k = 0; k < o; k++)
        for (int64_t j = 0; j < c / groups; j++) f(i, k / (o / groups) * (c / groups) + j, k, j);
  }
};

bool plain(const void* alpha, const void* beta) {
  return *static_cast<const float*>(alpha) == 1.0f && *static_cast<const float*>(beta) == 0.0f;
}

int forward(cudnnHandle_t h, const void* alpha, cudnnTensorDescriptor_t xd, const void* x, cudnnFilterDescriptor_t wd,
            const void* w, cudnnConvolutionDescriptor_t conv, int, void*, size_t, const void* beta,
            cudnnTensorDescriptor_t yd, void* y) {
  Shape s;
  if (!plain(alpha, beta) || !s.read(*xd, *wd, *yd, *conv)) return kBadParameter;
  return emulated::submit(h->stream, [=] {
    std::vector<double> sum(static_cast<size_t>(s.n * s.o * s.out_plane()), 0.0);
    s.pairs([&](int64_t i, int64_t c, int64_t o, int64_t j) {
      const int64_t from = (i * s.c + c) * s.in_plane();
      double* to = sum.data() + (i * s.o + o) * s.out_plane();
      for (int64_t k = 0; k < s.taps(); k++) {
        const double v = s.factor(w, (o * (s.c / s.groups) + j) * s.taps() + k);
        s.join(k, [&](int64_t in, int64_t out) { to[out] += v * s.factor(x, from + in); });
      }
    });
    s.store(sum, y);
  });
}

int data(cudnnHandle_t h, const void* alpha, cudnnFilterDescriptor_t wd, const void* w, cudnnTensorDescriptor_t yd,
         const void* dy, cudnnConvolutionDescriptor_t conv, int, void*, size_t, const void* beta,
         cudnnTensorDescriptor_t xd, void* dx) {
  Shape s;
  if (!plain(alpha, beta) || !s.read(*xd, *wd, *yd, *conv)) return kBadParameter;
  return emulated::submit(h->stream, [=] {
    std::vector<double> sum(static_cast<size_t>(s.n * s.c * s.in_plane()), 0.0);
    s.pairs([&](int64_t i, int64_t c, int64_t o, int64_t j) {
      const int64_t from = (i * s.o + o) * s.out_plane();
      double* to = sum.data() + (i * s.c + c) * s.in_plane();
      for (int64_t k = 0; k < s.taps(); k++) {
        const double v = s.factor(w, (o * (s.c / s.groups) + j) * s.taps() + k);
        s.join(k, [&](int64_t in, int64_t out) { to[in] += v * s.factor(dy, from + out); });
      }
    });
    s.store(sum, dx);
  });
}

int filter(cudnnHandle_t h, const void* alpha, cudnnTensorDescriptor_t xd, const void* x, cudnnTensorDescriptor_t yd,
           const void* dy, cudnnConvolutionDescriptor_t conv, int, void*, size_t, const void* beta,
           cudnnFilterDescriptor_t wd, void* dw) {
  Shape s;
  if (!plain(alpha, beta) || !s.read(*xd, *wd, *yd, *conv)) return kBadParameter;
  return emulated::submit(h->stream, [=] {
    std::vector<double> sum(static_cast<size_t>(s.o * (s.c / s.groups) * s.taps()), 0.0);
    s.pairs([&](int64_t i, int64_t c, int64_t o, int64_t j) {
      const int64_t from = (i * s.c + c) * s.in_plane(), by = (i * s.o + o) * s.out_plane();
      for (int64_t k = 0; k < s.taps(); k++) {
        double part = 0;
        s.join(k, [&](int64_t in, int64_t out) { part += static_cast<double>(s.factor(x, from + in)) * s.factor(dy, by + out); });
        sum[static_cast<size_t>((o * (s.c / s.groups) + j) * s.taps() + k)] += part;
      }
    });
    s.store(sum, dw);
  });
}

int gemm(cublasHandle_t h, int trans_a, int trans_b, int m, int n, int k, const void* alpha, const void* a, int type_a,
         int lda, long long stride_a, const void* b, int type_b, int ldb, long long stride_b, const void* beta, void* c,
         int type_c, int ldc, long long stride_c, int batch, int compute_type, int) {
  if (!plain(alpha, beta) || type_a != CUDA_R_32F || type_b != CUDA_R_32F || type_c != CUDA_R_32F || m < 1 || n < 1 ||
      k < 1 || lda < (trans_a ? k : m) || ldb < (trans_b ? n : k) || ldc < m)
    return 7; // CUBLAS_STATUS_INVALID_VALUE
  return emulated::submit(h->stream, [=] {
    const auto factor = [=](const float* from, int64_t i) -> double {
      switch (compute_type) {
        case CUBLAS_COMPUTE_32F_FAST_TF32: return to_tf32(from[i]);
        case CUBLAS_COMPUTE_32F_FAST_16BF: return to_bf16(from[i]);
      }
      return from[i];
    };
    for (int i = 0; i < batch; i++) {
      const float *pa = static_cast<const float*>(a) + i * stride_a, *pb = static_cast<const float*>(b) + i * stride_b;
      for (int col = 0; col < n; col++)
        for (int row = 0; row < m; row++) {
          double sum = 0;
          for (int j = 0; j < k; j++)
            sum += factor(pa, trans_a ? j + int64_t{row} * lda : row + int64_t{j} * lda) *
                   factor(pb, trans_b ? col + int64_t{j} * ldb : j + int64_t{col} * ldb);
          static_cast<float*>(c)[i * stride_c + row + int64_t{col} * ldc] = static_cast<float>(sum);
        }
    }
  });
}

// Descriptors are made at any time, handles in no capture.
template <class T>
int create(T** t) { return *t = new T{}, 0; }
template <class T>
int create_handle(T** t) { return emulated::capturing() ? kBadParameter : create(t); }
template <class T>
int destroy(T* t) { return delete t, 0; }
template <class T>
int set_stream(T* t, cudaStream_t s) { return t->stream = s, 0; }

// Some workspace, so that the callers' planning of it is exercised.
int forward_workspace(cudnnHandle_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnConvolutionDescriptor_t,
                      cudnnTensorDescriptor_t, int, size_t* bytes) { return *bytes = 1000, 0; }
int data_workspace(cudnnHandle_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnConvolutionDescriptor_t,
                   cudnnTensorDescriptor_t, int, size_t* bytes) { return *bytes = 1000, 0; }
int filter_workspace(cudnnHandle_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnConvolutionDescriptor_t,
                     cudnnFilterDescriptor_t, int, size_t* bytes) { return *bytes = 1000, 0; }

int set_tensor(cudnnTensorDescriptor_t t, int type, int dims, const int* size, const int* stride) {
  int expected = 1;
  for (int i = dims - 1; i >= 0; i--) { // row-major only
    if (stride[i] != expected) return kBadParameter;
    expected *= size[i];
  }
  t->type = type;
  return t->size.assign(size, size + dims), 0;
}
int set_filter(cudnnFilterDescriptor_t f, int type, int, int dims, const int* size) {
  f->type = type;
  return f->size.assign(size, size + dims), 0;
}
int set_conv(cudnnConvolutionDescriptor_t c, int spatial, const int* pad, const int* stride, const int* dilation,
             int mode, int) {
  if (mode != CUDNN_CROSS_CORRELATION) return kBadParameter;
  c->pad.assign(pad, pad + spatial);
  c->stride.assign(stride, stride + spatial);
  c->dilation.assign(dilation, dilation + spatial);
  return 0;
}

}  // namespace

const Dnn& cudnn() {
  static const Dnn table = {
      "emulated", []() -> size_t { return 0; },
      create_handle<cudnnContext>, destroy<cudnnContext>, set_stream<cudnnContext>,
      [](int) { return "bad parameter"; },
      create<cudnnTensorStruct>, destroy<cudnnTensorStruct>, set_tensor,
      create<cudnnFilterStruct>, destroy<cudnnFilterStruct>, set_filter,
      create<cudnnConvolutionStruct>, destroy<cudnnConvolutionStruct>, set_conv,
      [](cudnnConvolutionDescriptor_t c, int groups) { return c->groups = groups, 0; },
      [](cudnnConvolutionDescriptor_t c, int math) { return c->math = math, 0; },
      forward_workspace, forward, data_workspace, data, filter_workspace, filter,
  };
  return table;
}

const Blas& cublas() {
  static const Blas table = {
      "emulated", [](int, int*) { return 0; }, create_handle<cublasContext>, destroy<cublasContext>, set_stream<cublasContext>,
      [](cublasHandle_t, void*, size_t) { return 0; }, gemm,
  };
  return table;
}

void check_dnn(int status, const char* what) {
  if (status) fail_in_library(std::string(what) + " failed: bad parameter");
}
void check_blas(int status, const char* what) {
  if (status) fail_in_library(std::string(what) + " failed: bad parameter");
}

}  // namespace trtact::cuda
