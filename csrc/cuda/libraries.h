// What is called of cuDNN and cuBLAS: both are opened when a device is, and their
// functions reached through these tables, so that nothing of theirs is needed to build
// or to start. The declarations follow NVIDIA's documentation of cuDNN 8 and 9 and of
// cuBLAS 11 to 13; their numbers are part of the binary interface. `make check-cuda`
// compares all with NVIDIA's own headers.
#pragma once

#include <string>

#include "error.h"

namespace trtact::cuda {

using cudnnHandle_t = struct cudnnContext*;
using cudnnTensorDescriptor_t = struct cudnnTensorStruct*;
using cudnnFilterDescriptor_t = struct cudnnFilterStruct*;
using cudnnConvolutionDescriptor_t = struct cudnnConvolutionStruct*;
using cublasHandle_t = struct cublasContext*;

enum { CUDNN_DATA_FLOAT = 0, CUDNN_DATA_BFLOAT16 = 9, CUDNN_TENSOR_NCHW = 0, CUDNN_CROSS_CORRELATION = 1 };
// Factors may be rounded to TF32; tensor cores for what is of BF16 already; neither.
enum { CUDNN_DEFAULT_MATH = 0, CUDNN_TENSOR_OP_MATH = 1, CUDNN_FMA_MATH = 3 };
// Algorithms that sum products in float32 in a fixed order: no transforms, no atomics.
enum { CUDNN_FWD_IMPLICIT_GEMM = 0, CUDNN_FWD_IMPLICIT_PRECOMP_GEMM = 1 };
enum { CUDNN_BWD_DATA_ALGO_1 = 1 };
enum { CUDNN_BWD_FILTER_ALGO_1 = 1 };

struct Dnn {
  std::string version; // "9.1.0"
  size_t (*get_version)();
  int (*create)(cudnnHandle_t*);
  int (*destroy)(cudnnHandle_t);
  int (*set_stream)(cudnnHandle_t, cudaStream_t);
  const char* (*error_string)(int);
  int (*create_tensor)(cudnnTensorDescriptor_t*);
  int (*destroy_tensor)(cudnnTensorDescriptor_t);
  int (*set_tensor)(cudnnTensorDescriptor_t, int type, int dims, const int* size, const int* stride);
  int (*create_filter)(cudnnFilterDescriptor_t*);
  int (*destroy_filter)(cudnnFilterDescriptor_t);
  int (*set_filter)(cudnnFilterDescriptor_t, int type, int format, int dims, const int* size);
  int (*create_conv)(cudnnConvolutionDescriptor_t*);
  int (*destroy_conv)(cudnnConvolutionDescriptor_t);
  int (*set_conv)(cudnnConvolutionDescriptor_t, int spatial, const int* pad, const int* stride, const int* dilation,
                  int mode, int compute_type);
  int (*set_groups)(cudnnConvolutionDescriptor_t, int);
  int (*set_math)(cudnnConvolutionDescriptor_t, int);
  int (*forward_workspace)(cudnnHandle_t, cudnnTensorDescriptor_t x, cudnnFilterDescriptor_t w,
                           cudnnConvolutionDescriptor_t, cudnnTensorDescriptor_t y, int algorithm, size_t*);
  int (*forward)(cudnnHandle_t, const void* alpha, cudnnTensorDescriptor_t, const void* x, cudnnFilterDescriptor_t,
                 const void* w, cudnnConvolutionDescriptor_t, int algorithm, void* workspace, size_t, const void* beta,
                 cudnnTensorDescriptor_t, void* y);
  int (*data_workspace)(cudnnHandle_t, cudnnFilterDescriptor_t w, cudnnTensorDescriptor_t dy,
                        cudnnConvolutionDescriptor_t, cudnnTensorDescriptor_t dx, int algorithm, size_t*);
  int (*data)(cudnnHandle_t, const void* alpha, cudnnFilterDescriptor_t, const void* w, cudnnTensorDescriptor_t,
              const void* dy, cudnnConvolutionDescriptor_t, int algorithm, void* workspace, size_t, const void* beta,
              cudnnTensorDescriptor_t, void* dx);
  int (*filter_workspace)(cudnnHandle_t, cudnnTensorDescriptor_t x, cudnnTensorDescriptor_t dy,
                          cudnnConvolutionDescriptor_t, cudnnFilterDescriptor_t dw, int algorithm, size_t*);
  int (*filter)(cudnnHandle_t, const void* alpha, cudnnTensorDescriptor_t, const void* x, cudnnTensorDescriptor_t,
                const void* dy, cudnnConvolutionDescriptor_t, int algorithm, void* workspace, size_t, const void* beta,
                cudnnFilterDescriptor_t, void* dw);
};

// F(member, its name in the library) for every function of the table.
#define TRTACT_CUDNN(F)                                              \
  F(get_version, cudnnGetVersion)                                    \
  F(create, cudnnCreate)                                             \
  F(destroy, cudnnDestroy)                                           \
  F(set_stream, cudnnSetStream)                                      \
  F(error_string, cudnnGetErrorString)                               \
  F(create_tensor, cudnnCreateTensorDescriptor)                      \
  F(destroy_tensor, cudnnDestroyTensorDescriptor)                    \
  F(set_tensor, cudnnSetTensorNdDescriptor)                          \
  F(create_filter, cudnnCreateFilterDescriptor)                      \
  F(destroy_filter, cudnnDestroyFilterDescriptor)                    \
  F(set_filter, cudnnSetFilterNdDescriptor)                          \
  F(create_conv, cudnnCreateConvolutionDescriptor)                   \
  F(destroy_conv, cudnnDestroyConvolutionDescriptor)                 \
  F(set_conv, cudnnSetConvolutionNdDescriptor)                       \
  F(set_groups, cudnnSetConvolutionGroupCount)                       \
  F(set_math, cudnnSetConvolutionMathType)                           \
  F(forward_workspace, cudnnGetConvolutionForwardWorkspaceSize)      \
  F(forward, cudnnConvolutionForward)                                \
  F(data_workspace, cudnnGetConvolutionBackwardDataWorkspaceSize)    \
  F(data, cudnnConvolutionBackwardData)                              \
  F(filter_workspace, cudnnGetConvolutionBackwardFilterWorkspaceSize) \
  F(filter, cudnnConvolutionBackwardFilter)

enum { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum { CUDA_R_32F = 0, CUBLAS_GEMM_DEFAULT = -1 };
// Sums in float32; FAST: factors are rounded to TF32 or BF16.
enum { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_32F_FAST_16BF = 75, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum { CUBLAS_MAJOR_VERSION = 0, CUBLAS_MINOR_VERSION = 1 };

struct Blas {
  std::string version; // "12.4"
  int (*get_property)(int, int*);
  int (*create)(cublasHandle_t*);
  int (*destroy)(cublasHandle_t);
  int (*set_stream)(cublasHandle_t, cudaStream_t);
  int (*set_workspace)(cublasHandle_t, void*, size_t);
  // Column-major.
  int (*gemm_strided_batched)(cublasHandle_t, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
                              const void* a, int type_a, int lda, long long stride_a, const void* b, int type_b,
                              int ldb, long long stride_b, const void* beta, void* c, int type_c, int ldc,
                              long long stride_c, int batch, int compute_type, int algorithm);
};

#define TRTACT_CUBLAS(F)                  \
  F(get_property, cublasGetProperty)      \
  F(create, cublasCreate_v2)              \
  F(destroy, cublasDestroy_v2)            \
  F(set_stream, cublasSetStream_v2)       \
  F(set_workspace, cublasSetWorkspace_v2) \
  F(gemm_strided_batched, cublasGemmStridedBatchedEx)

// Opened by the first call; an exception says what is missing.
const Dnn& cudnn();
const Blas& cublas();

void check_dnn(int status, const char* what);
void check_blas(int status, const char* what);

}  // namespace trtact::cuda
