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
    const std::string why = dlerror();
    if (reason.empty() || why.rfind(name, 0) != 0) reason = why; // rather that it lacks something than that it is not there
  }
  fail(std::string(what) + " was not found (" + reason + "): install it, or add its folder to LD_LIBRARY_PATH");
}

template <class F>
void find(void* handle, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(handle, name));
  if (!*function) fail(std::string("the library that was found has no function ") + name);
}

#define TRTACT_FIND(member, symbol) find(h, #symbol, &t.member);

Dnn open_dnn() {
  // cuDNN 8 opens its parts itself, and ends the process where the first lacks its cuBLAS.
  // Opened here, that is an error like others.
  void* h = open_first("cuDNN 8 or 9", {"libcudnn.so.9", "libcudnn_ops_infer.so.8"});
  if (!dlsym(h, "cudnnConvolutionForward")) h = open_first("cuDNN 8", {"libcudnn.so.8"});
  Dnn t{};
  TRTACT_CUDNN(TRTACT_FIND)
  const size_t v = t.get_version(), major = v >= 90000 ? 10000 : 1000;
  t.version = std::to_string(v / major) + "." + std::to_string(v % major / 100) + "." + std::to_string(v % 100);
  return t;
}

Blas open_blas() {
  void* h = open_first("cuBLAS 11, 12 or 13", {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"});
  Blas t{};
  TRTACT_CUBLAS(TRTACT_FIND)
  int major = 0, minor = 0;
  t.get_property(CUBLAS_MAJOR_VERSION, &major);
  t.get_property(CUBLAS_MINOR_VERSION, &minor);
  t.version = std::to_string(major) + "." + std::to_string(minor);
  return t;
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
  if (status) fail_in_library(std::string(what) + " failed: " + cudnn().error_string(status) + " (cuDNN status " + std::to_string(status) + ")");
}

void check_blas(int status, const char* what) {
  if (status) fail_in_library(std::string(what) + " failed (cuBLAS status " + std::to_string(status) + ")");
}

}  // namespace trtact::cuda
