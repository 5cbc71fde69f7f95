// CUDA's status codes as exceptions that say where: file, line and call or kernel.
#pragma once

#include "../common/tensor.h"
#include "platform.h"

namespace trtact::cuda {

// Whether CUDA answers every later call of this process with the same error: faults of
// kernels (700 to 719) and of the memory (214).
inline bool lost(cudaError_t e) {
  const int n = e;
  return n == 214 || n == 700 || n == 702 || n == 710 || (n >= 714 && n <= 719);
}

[[noreturn]] inline void fail_at(const char* file, int line, const std::string& what, cudaError_t e) {
  const char* name = std::strrchr(file, '/');
  fail(what + " failed at " + (name ? name + 1 : file) + ":" + std::to_string(line) + ": " +
       cudaGetErrorString(e) + " (CUDA error " + std::to_string(static_cast<int>(e)) + ")" +
       (lost(e) ? "; the GPU is lost to this process: run again, a training with --resume" : ""));
}

inline void check(cudaError_t e, const char* file, int line, const char* call) {
  if (e == cudaSuccess) return;
  cudaGetLastError(); // so that the next call does not report this one
  fail_at(file, line, call, e);
}

}  // namespace trtact::cuda

#define TRTACT_CUDA(call) ::trtact::cuda::check((call), __FILE__, __LINE__, #call)
