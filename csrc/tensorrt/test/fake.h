// What tests set and see of the TensorRT in include/NvInfer.h, and the symbols of the
// driver in cuda.cpp, by dlsym as our own code finds it.
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>

#include <cuda_runtime_api.h>

namespace fake {

inline std::atomic<int> enqueued{0};       // by contexts
inline std::atomic<int> fail_at{-1};       // enqueueing fails when that many have been
inline std::atomic<bool> capturable{true}; // may be captured as a graph
inline std::atomic<int> contexts{0};       // alive

template <typename T>
T* symbol(const char* name) {
  static void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  void* const found = driver != nullptr ? dlsym(driver, name) : nullptr;
  if (found == nullptr) std::abort();
  return reinterpret_cast<T*>(found);
}

} // namespace fake
