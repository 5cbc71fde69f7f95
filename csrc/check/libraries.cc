// cuda/libraries.h beside cudnn.h and cublas_v2.h. Theirs come first: then the opaque
// structs that ours names are theirs.
#include <cublas_v2.h>
#include <cudnn.h>

#include "cuda/libraries.h"
#include "same.h"

// cublas_api.h has a second function of this name, inline, for callers of cuBLAS 10. This
// is the library's.
using Gemm = cublasStatus_t(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                            const void*, cudaDataType, int, long long, const void*, cudaDataType, int, long long,
                            const void*, void*, cudaDataType, int, long long, int, cublasComputeType_t, cublasGemmAlgo_t);
constexpr Gemm& gemm_of_the_library = cublasGemmStridedBatchedEx;
#define cublasGemmStridedBatchedEx gemm_of_the_library

namespace trtact::cuda {

#define CUDNN(member, symbol) SAME(Dnn, member, symbol)
TRTACT_CUDNN(CUDNN)
COMPLETE(Dnn, TRTACT_CUDNN, sizeof(std::string))

static_assert(CUDNN_STATUS_SUCCESS == 0);
NUMBER(CUDNN_DATA_FLOAT, CUDNN_DATA_FLOAT)
NUMBER(CUDNN_DATA_BFLOAT16, CUDNN_DATA_BFLOAT16)
NUMBER(CUDNN_TENSOR_NCHW, CUDNN_TENSOR_NCHW)
NUMBER(CUDNN_CROSS_CORRELATION, CUDNN_CROSS_CORRELATION)
NUMBER(CUDNN_DEFAULT_MATH, CUDNN_DEFAULT_MATH)
NUMBER(CUDNN_TENSOR_OP_MATH, CUDNN_TENSOR_OP_MATH)
NUMBER(CUDNN_FMA_MATH, CUDNN_FMA_MATH)
NUMBER(CUDNN_FWD_IMPLICIT_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM)
NUMBER(CUDNN_FWD_IMPLICIT_PRECOMP_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)
NUMBER(CUDNN_BWD_DATA_ALGO_1, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1)
NUMBER(CUDNN_BWD_FILTER_ALGO_1, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1)

#define CUBLAS(member, symbol) SAME(Blas, member, symbol)
TRTACT_CUBLAS(CUBLAS)
COMPLETE(Blas, TRTACT_CUBLAS, sizeof(std::string))

static_assert(CUBLAS_STATUS_SUCCESS == 0);
NUMBER(CUBLAS_OP_N, CUBLAS_OP_N)
NUMBER(CUBLAS_OP_T, CUBLAS_OP_T)
NUMBER(CUDA_R_32F, CUDA_R_32F)
NUMBER(CUBLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT)
NUMBER(CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F)
NUMBER(CUBLAS_COMPUTE_32F_FAST_16BF, CUBLAS_COMPUTE_32F_FAST_16BF)
NUMBER(CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_32F_FAST_TF32)
NUMBER(CUBLAS_MAJOR_VERSION, MAJOR_VERSION)
NUMBER(CUBLAS_MINOR_VERSION, MINOR_VERSION)

}  // namespace trtact::cuda
