// A device and its lanes: streams with the library handles that belong to them. A run
// takes a lane for as long as it lasts, so runs of several host threads overlap on the
// device, and its end waits for the lane's work, so that whoever comes next, on any
// lane, finds it done. Copies within the device's memory alone are not waited for.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "graph.h"
#include "libraries.h"
#include "memory.h"

namespace trtact::cuda {

class Lane {
 public:
  Lane();
  ~Lane();
  Lane(const Lane&) = delete;

  cudaStream_t stream = nullptr;
  // Made when first asked for, which must not be in a capture.
  cudnnHandle_t dnn();
  cublasHandle_t blas();
  // Device memory for what is asked back at once (observers), at least that large.
  void* scratch(size_t bytes);
  void wait() { TRTACT_CUDA(cudaStreamSynchronize(stream)); }

 private:
  cudnnHandle_t dnn_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  Memory scratch_;
  size_t scratch_bytes_ = 0;
};

// Copies within the device's memory, one behind the other. A step of training makes some
// sixty, too small for each to be waited for.
class Copies {
 public:
  Copies();
  ~Copies();
  Copies(const Copies&) = delete;
  void add(void* to, const void* from, size_t bytes);
  // What is put on the stream from now on comes after the copies added so far.
  void hold(cudaStream_t stream) const { TRTACT_CUDA(cudaStreamWaitEvent(stream, done_, 0)); }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
};

class Device {
 public:
  explicit Device(int index);
  // What every entry from outside does first: CUDA keeps the current device for each
  // host thread.
  void enter() const { TRTACT_CUDA(cudaSetDevice(index_)); }
  // "NVIDIA T4, sm_75"
  const std::string& name() const { return name_; }
  Graphs& graphs() { return graphs_; }
  Copies& copies() { return *copies_; }
  // Whether tensor cores take TF32 and BF16.
  bool has_tf32() const { return capability_ >= 80; }
  // Refuses TRTACT_MATH_... that this GPU has no instructions for.
  void require_math(int32_t math) const;

  class Lease {
   public:
    explicit Lease(Device& d) : device_(d), lane_(d.take()) {}
    ~Lease() { device_.give(std::move(lane_)); }
    Lease(const Lease&) = delete;
    Lane& operator*() const { return *lane_; }
    Lane* operator->() const { return lane_.get(); }

   private:
    Device& device_;
    std::unique_ptr<Lane> lane_;
  };

 private:
  std::unique_ptr<Lane> take();
  void give(std::unique_ptr<Lane>);

  int index_;
  std::string name_;
  int capability_ = 0; // 75 for sm_75
  std::mutex mutex_;
  std::vector<std::unique_ptr<Lane>> free_;
  Graphs graphs_;
  std::optional<Copies> copies_;
};

}  // namespace trtact::cuda
