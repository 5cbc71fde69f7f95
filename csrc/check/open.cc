// Opens cuDNN, cuBLAS and NCCL as the program does and prints their versions, one a line.
// Of what is called of them it calls what needs no GPU: cuDNN's descriptors are made and
// set as those of a convolution are.
#include <cstdio>

#include "cuda/libraries.h"
#include "trtact/collective.h"

// Asked when a library has failed; nothing of CUDA's own runs here.
extern "C" cudaError_t cudaFree(void*) { return cudaSuccess; }
extern "C" const char* cudaGetErrorString(cudaError_t) { return ""; }

namespace {

using namespace trtact::cuda;

void describe() {
  const Dnn& dnn = cudnn();
  const int size[] = {1, 8, 16, 16}, stride[] = {2048, 256, 16, 1}, kernel[] = {8, 1, 3, 3}, ones[] = {1, 1};
  cudnnTensorDescriptor_t x;
  cudnnFilterDescriptor_t w;
  check_dnn(dnn.create_tensor(&x), "cudnnCreateTensorDescriptor");
  for (int type : {CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16})
    check_dnn(dnn.set_tensor(x, type, 4, size, stride), "cudnnSetTensorNdDescriptor");
  check_dnn(dnn.create_filter(&w), "cudnnCreateFilterDescriptor");
  for (int type : {CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16})
    check_dnn(dnn.set_filter(w, type, CUDNN_TENSOR_NCHW, 4, kernel), "cudnnSetFilterNdDescriptor");
  check_dnn(dnn.destroy_filter(w), "cudnnDestroyFilterDescriptor");
  check_dnn(dnn.destroy_tensor(x), "cudnnDestroyTensorDescriptor");
  if (dnn.get_version() < 90000) return; // its part with convolutions does not open without a driver
  cudnnConvolutionDescriptor_t conv;
  check_dnn(dnn.create_conv(&conv), "cudnnCreateConvolutionDescriptor");
  check_dnn(dnn.set_conv(conv, 2, ones, ones, ones, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT), "cudnnSetConvolutionNdDescriptor");
  check_dnn(dnn.set_groups(conv, 8), "cudnnSetConvolutionGroupCount");
  for (int math : {CUDNN_DEFAULT_MATH, CUDNN_FMA_MATH}) check_dnn(dnn.set_math(conv, math), "cudnnSetConvolutionMathType");
  check_dnn(dnn.destroy_conv(conv), "cudnnDestroyConvolutionDescriptor");
}

}  // namespace

int main() {
  try {
    std::printf("cuDNN %s\n", cudnn().version.c_str());
    std::printf("cuBLAS %s\n", cublas().version.c_str());
    describe();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  char version[32];
  trtact_error error{};
  if (trtact_collective_open(TRTACT_COLLECTIVE_ABI)->version(version, sizeof version, &error) != 0) {
    std::fprintf(stderr, "%s\n", error.text);
    return 1;
  }
  std::printf("NCCL %s\n", version);
}
