// An execution context with its inputs and outputs, by name. TensorRT 8.4 knows
// them as numbered bindings, newer ones as named tensors; the difference ends
// here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "family.h"
#include "trtact/tensorrt.h"

namespace trtact {

// An input or output of an engine, with the sizes of one session.
struct Tensor {
  std::string name;
  bool input = false;
  int32_t type = 0;
  trtact_trt_dims dims{}; // -1: unknown as yet
  int32_t number = 0;     // of the binding, where they have numbers
};

// How many bytes an element takes. Throws Failure for types that no session
// can hold.
size_t element_bytes(const Tensor&);

// What the engine takes and gives, inputs first. Dynamic inputs get the sizes
// asked for, else the profile's opt. Throws Failure with INVALID when sizes or
// profile do not fit, and for engines with inputs or outputs of forms that we
// cannot feed.
std::vector<Tensor> tensors_of(const nvinfer1::ICudaEngine&, int32_t profile,
                               const trtact_trt_shape* shapes, int32_t n_shapes);

class Execution {
 public:
  // Creates a context of the engine for the profile. The stream is used for
  // setting it up and has to be waited for.
  Execution(nvinfer1::ICudaEngine&, int32_t profile, cudaStream_t);
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  // Gives the inputs their sizes, then fills in those of the outputs; a size
  // that depends on the data stays -1.
  void resize(std::vector<Tensor>&);
  // The most bytes that an output of unknown size can need.
  size_t most_bytes(const Tensor&) const;
  // Where the tensor's elements are, on the device. bytes is the room there.
  void bind(const Tensor&, void* address, size_t bytes);
  // After a run, the sizes that an output of unknown size had.
  trtact_trt_dims found(const Tensor&) const;

  // Hands the network to the stream. Throws Failure.
  void enqueue(cudaStream_t);

  nvinfer1::IExecutionContext& context() { return *context_; }

 private:
  class Outlet;

  nvinfer1::ICudaEngine& engine_;
  std::vector<std::unique_ptr<Outlet>> outlets_; // of outputs of unknown size; outlive the context
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  std::vector<void*> bindings_; // where they have numbers
};

// Throws Failure: "text: what TensorRT said first".
[[noreturn]] void run_failed(const std::string& text);

} // namespace trtact
