// An engine that is loaded on a device and can be run and timed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "driver.h"
#include "execution.h"
#include "library.h"
#include "trtact/tensorrt.h"

namespace trtact {

// An execution context with a stream and memory of its own.
struct Lane {
  Lane(nvinfer1::ICudaEngine&, int32_t profile, std::vector<Tensor>&);

  void inputs_to_device() const;
  void outputs_to_host() const;

  cuda::Stream stream;
  std::vector<std::unique_ptr<cuda::Buffer>> buffers; // by tensor
  std::vector<bool> is_input;
  Execution execution; // goes before the memory it points to
};

class Session {
 public:
  Session(const Library&, const trtact_trt_session_options&);
  ~Session();

  const std::vector<Tensor>& tensors() const { return tensors_; }
  uint64_t device_bytes() const { return device_bytes_; }
  void* memory(size_t tensor, size_t& bytes);

  void run();
  trtact_trt_block time(const trtact_trt_time_options&);
  const std::vector<trtact_trt_layer_time>& profile(int32_t iterations);
  const std::string& inspect();

 private:
  class Layers;

  void same_inputs(Lane&) const;

  std::string log_path_;
  int32_t log_level_;
  // In this order, since each needs those before it.
  cuda::Device device_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::vector<Tensor> tensors_;
  std::unique_ptr<Layers> layers_; // outlives the context that it is attached to
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<Lane> profiled_;
  uint64_t device_bytes_ = 0;

  std::vector<trtact_trt_sample> samples_; // what the last call gave out
  std::string note_;
  std::vector<trtact_trt_layer_time> times_;
  std::string inspection_;
};

} // namespace trtact
