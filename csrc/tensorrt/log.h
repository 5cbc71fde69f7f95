// TensorRT's messages. They go to a file, whole, because they are long and
// rarely read; the first error is kept, because it is the one that tells (what
// follows it is mostly "builder failed").
#pragma once

#include <cstdio>
#include <mutex>
#include <string>

#include "family.h"

namespace trtact {

class Log final : public nvinfer1::ILogger {
 public:
  // TensorRT keeps the first logger that it is given for as long as the library
  // is loaded, so there is one, and it is never destroyed.
  static Log& instance();

  void log(Severity severity, const char* message) noexcept override;

  // The log of one call: opens the file, forgets the last call's errors, and
  // closes the file at the end. Calls wait for each other.
  class Scope {
   public:
    Scope(const char* path, int32_t level);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    std::unique_lock<std::mutex> turn_;
  };

  std::string first_error();
  // The first error of the call spoke of CUDA: no device, driver, memory.
  bool blamed_cuda();

 private:
  Log() = default;

  std::mutex turn_;  // held by a Scope
  std::mutex mutex_; // guards what follows: TensorRT logs from its own threads
  std::FILE* file_ = nullptr;
  int32_t level_ = 0;
  std::string first_error_;
  bool blamed_cuda_ = false;
};

} // namespace trtact
