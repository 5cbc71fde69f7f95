// CUDA's status codes as exceptions that say where: file, line and call or kernel.
#pragma once

#include <mutex>

#include "../common/tensor.h"
#include "platform.h"

namespace trtact::cuda {

// Whether CUDA answers every later call of this process with the same error: faults of
// kernels (700 to 721), of the memory (214) and of the link to another GPU (220).
inline bool lost(cudaError_t e) {
  const int n = e;
  return n == 214 || n == 220 || n == 700 || n == 702 || n == 710 || (n >= 714 && n <= 719) || n == 721;
}

// An error as a text: "unspecified launch failure (CUDA error 719); the GPU is lost ..."
inline std::string text_of(cudaError_t e) {
  return std::string(cudaGetErrorString(e)) + " (CUDA error " + std::to_string(static_cast<int>(e)) + ")" +
         (lost(e) ? "; the GPU is lost to this process: run again, a training with --resume" : "");
}

[[noreturn]] inline void fail_at(const char* file, int line, const std::string& what, cudaError_t e) {
  const char* name = std::strrchr(file, '/');
  fail(what + " failed at " + (name ? name + 1 : file) + ":" + std::to_string(line) + ": " + text_of(e));
}

// Held while a stream is captured, and while a library's handle is made or destroyed, which
// may wait for the whole device: that would end the capture.
inline std::mutex& making() {
  static std::mutex m;
  return m;
}

// What cuDNN or cuBLAS says, and where the GPU is lost, that: their runtimes keep their
// errors to themselves, so ours is asked by a call that does nothing.
[[noreturn]] inline void fail_in_library(const std::string& what) {
  const cudaError_t e = cudaFree(nullptr);
  fail(lost(e) ? what + ": " + text_of(e) : what);
}

inline void check(cudaError_t e, const char* file, int line, const char* call) {
  if (e == cudaSuccess) return;
  cudaGetLastError(); // so that the next call does not report this one
  fail_at(file, line, call, e);
}

}  // namespace trtact::cuda

#define TRTACT_CUDA(call) ::trtact::cuda::check((call), __FILE__, __LINE__, #call)
