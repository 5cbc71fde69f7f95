#include "libraries.h"

#include <dlfcn.h>

#include <initializer_list>

namespace trtact::cuda {
namespace {

// The first of these libraries that the dynamic linker finds or that is loaded already.
void* open_first(const char* what, std::initializer_list<const char*> names) {
  std::string reason;
  for (const char* name : names) {
    if (void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return handle;
    if (reason.empty()) reason = dlerror();
  }
  fail(std::string(what) + " was not found (" + reason + "): install it, or add its folder to LD_LIBRARY_PATH");
}

template <class F>
void find(void* handle, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(handle, name));
  if (!*function) fail(std::string("the library that was found has no function ") + name);
}

Dnn open_dnn() {
  void* h = open_first("cuDNN 8 or 9", {"libcudnn.so.9", "libcudnn.so.8"});
  Dnn d{};
  size_t (*version)() = nullptr;
  find(h, "cudnnGetVersion", &version);
  const size_t v = version(), major = v >= 90000 ? 10000 : 1000;
  d.version = std::to_string(v / major) + "." + std::to_string(v % major / 100) + "." + std::to_string(v % 100);
  find(h, "cudnnCreate", &d.create);
  find(h, "cudnnDestroy", &d.destroy);
  find(h, "cudnnSetStream", &d.set_stream);
  find(h, "cudnnGetErrorString", &d.error_string);
  find(h, "cudnnCreateTensorDescriptor", &d.create_tensor);
  find(h, "cudnnDestroyTensorDescriptor", &d.destroy_tensor);
  find(h, "cudnnSetTensorNdDescriptor", &d.set_tensor);
  find(h, "cudnnCreateFilterDescriptor", &d.create_filter);
  find(h, "cudnnDestroyFilterDescriptor", &d.destroy_filter);
  find(h, "cudnnSetFilterNdDescriptor", &d.set_filter);
  find(h, "cudnnCreateConvolutionDescriptor", &d.create_conv);
  find(h, "cudnnDestroyConvolutionDescriptor", &d.destroy_conv);
  find(h, "cudnnSetConvolutionNdDescriptor", &d.set_conv);
  find(h, "cudnnSetConvolutionGroupCount", &d.set_groups);
  find(h, "cudnnSetConvolutionMathType", &d.set_math);
  find(h, "cudnnGetConvolutionForwardWorkspaceSize", &d.forward_workspace);
  find(h, "cudnnConvolutionForward", &d.forward);
  find(h, "cudnnGetConvolutionBackwardDataWorkspaceSize", &d.data_workspace);
  find(h, "cudnnConvolutionBackwardData", &d.data);
  find(h, "cudnnGetConvolutionBackwardFilterWorkspaceSize", &d.filter_workspace);
  find(h, "cudnnConvolutionBackwardFilter", &d.filter);
  return d;
}

Blas open_blas() {
  void* h = open_first("cuBLAS 11, 12 or 13", {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"});
  Blas b{};
  int (*property)(int, int*) = nullptr;
  find(h, "cublasGetProperty", &property);
  int major = 0, minor = 0;
  property(0, &major);
  property(1, &minor);
  b.version = std::to_string(major) + "." + std::to_string(minor);
  find(h, "cublasCreate_v2", &b.create);
  find(h, "cublasDestroy_v2", &b.destroy);
  find(h, "cublasSetStream_v2", &b.set_stream);
  find(h, "cublasSetWorkspace_v2", &b.set_workspace);
  find(h, "cublasGemmStridedBatchedEx", &b.gemm_strided_batched);
  return b;
}

}  // namespace

const Dnn& cudnn() {
  static const Dnn table = open_dnn(); // an exception leaves it for the next call
  return table;
}

const Blas& cublas() {
  static const Blas table = open_blas();
  return table;
}

void check_dnn(int status, const char* what) {
  if (status) fail(std::string(what) + " failed: " + cudnn().error_string(status) + " (cuDNN status " + std::to_string(status) + ")");
}

void check_blas(int status, const char* what) {
  if (status) fail(std::string(what) + " failed (cuBLAS status " + std::to_string(status) + ")");
}

}  // namespace trtact::cuda
