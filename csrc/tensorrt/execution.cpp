#include "execution.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "log.h"
#include "network.h"

namespace trtact {
namespace {

using Selector = nvinfer1::OptProfileSelector;

[[noreturn]] void invalid(const std::string& text) { throw Failure(TRTACT_TRT_INVALID, text); }

trtact_trt_dims sizes(const nvinfer1::Dims& dims) {
  trtact_trt_dims out{};
  if (dims.nbDims < 0 || dims.nbDims > TRTACT_TRT_MAX_RANK) {
    throw Failure(TRTACT_TRT_FAILED, "TensorRT does not tell the sizes of an input or output: " + Log::instance().first_error());
  }
  out.rank = dims.nbDims;
  for (int32_t i = 0; i < out.rank; ++i) out.size[i] = dims.d[i];
  return out;
}

bool dynamic(const trtact_trt_dims& dims) {
  return std::any_of(dims.size, dims.size + dims.rank, [](int64_t n) { return n < 0; });
}

std::string text(const trtact_trt_dims& dims) {
  std::string out;
  for (int32_t i = 0; i < dims.rank; ++i) {
    out += i == 0 ? "" : "x";
    out += dims.size[i] < 0 ? "?" : std::to_string(dims.size[i]);
  }
  return out.empty() ? "a scalar" : out;
}

// The engine's inputs and outputs as it declares them.
std::vector<Tensor> declared(const nvinfer1::ICudaEngine& engine) {
  std::vector<Tensor> list;
#if TRTACT_FAMILY_NAMED_TENSORS
  for (int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
    Tensor t;
    t.name = engine.getIOTensorName(i);
    const char* name = t.name.c_str();
    t.input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    t.type = static_cast<int32_t>(engine.getTensorDataType(name));
    t.dims = sizes(engine.getTensorShape(name));
    if (engine.getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR) {
      invalid("tensor '" + t.name + "' of the engine is not laid out row by row: build it with linear inputs and outputs");
    }
    if (engine.isShapeInferenceIO(name)) {
      invalid("tensor '" + t.name + "' of the engine holds a shape, not data: such engines are not run");
    }
    list.push_back(t);
  }
#else
  // Every profile has bindings of its own; those of the first have the names.
  if (engine.hasImplicitBatchDimension()) invalid("the engine has an implicit batch dimension: such engines are not run");
  const int32_t count = engine.getNbBindings() / std::max(1, engine.getNbOptimizationProfiles());
  for (int32_t i = 0; i < count; ++i) {
    Tensor t;
    t.name = engine.getBindingName(i);
    t.input = engine.bindingIsInput(i);
    t.type = static_cast<int32_t>(engine.getBindingDataType(i));
    t.dims = sizes(engine.getBindingDimensions(i));
    t.number = i;
    if (engine.getBindingFormat(i) != nvinfer1::TensorFormat::kLINEAR) {
      invalid("tensor '" + t.name + "' of the engine is not laid out row by row: build it with linear inputs and outputs");
    }
    if (engine.isShapeBinding(i)) {
      invalid("tensor '" + t.name + "' of the engine holds a shape, not data: such engines are not run");
    }
    list.push_back(t);
  }
#endif
  std::stable_partition(list.begin(), list.end(), [](const Tensor& t) { return t.input; });
  return list;
}

trtact_trt_dims profile_sizes(const nvinfer1::ICudaEngine& engine, const Tensor& t, int32_t profile, Selector which) {
#if TRTACT_FAMILY_NAMED_TENSORS
  return sizes(engine.getProfileShape(t.name.c_str(), profile, which));
#else
  return sizes(engine.getProfileDimensions(t.number + profile * (engine.getNbBindings() / engine.getNbOptimizationProfiles()),
                                           profile, which));
#endif
}

// The sizes of an input: those asked for when they fit.
trtact_trt_dims chosen(const nvinfer1::ICudaEngine& engine, const Tensor& t, int32_t profile, const trtact_trt_dims* asked) {
  if (!dynamic(t.dims)) {
    if (asked != nullptr && (asked->rank != t.dims.rank ||
                             !std::equal(asked->size, asked->size + asked->rank, t.dims.size))) {
      invalid("input '" + t.name + "' of the engine is always " + text(t.dims) + ", not " + text(*asked));
    }
    return t.dims;
  }
  const trtact_trt_dims min = profile_sizes(engine, t, profile, Selector::kMIN);
  const trtact_trt_dims max = profile_sizes(engine, t, profile, Selector::kMAX);
  const trtact_trt_dims want = asked != nullptr ? *asked : profile_sizes(engine, t, profile, Selector::kOPT);
  bool fits = want.rank == min.rank && want.rank == max.rank;
  for (int32_t i = 0; fits && i < want.rank; ++i) fits = min.size[i] <= want.size[i] && want.size[i] <= max.size[i];
  if (!fits) {
    invalid("input '" + t.name + "' cannot be " + text(want) + ": the engine was built for " + text(min) + " to " + text(max));
  }
  return want;
}

} // namespace

[[noreturn]] void run_failed(const std::string& text) {
  const std::string why = Log::instance().first_error();
  throw Failure(TRTACT_TRT_FAILED, text + ": " + (why.empty() ? "TensorRT gave no reason" : why));
}

size_t element_bytes(const Tensor& t) {
  switch (t.type) {
    case TRTACT_TRT_FLOAT32:
    case TRTACT_TRT_INT32: return 4;
    case TRTACT_TRT_FLOAT16:
    case TRTACT_TRT_BFLOAT16: return 2;
    case TRTACT_TRT_INT8:
    case TRTACT_TRT_UINT8:
    case TRTACT_TRT_FP8:
    case TRTACT_TRT_BOOL: return 1;
    case TRTACT_TRT_INT64: return 8;
    default: invalid("tensor '" + t.name + "' of the engine has elements of TensorRT's type " + std::to_string(t.type) + ", which cannot be fed");
  }
}

std::vector<Tensor> tensors_of(const nvinfer1::ICudaEngine& engine, int32_t profile,
                               const trtact_trt_shape* shapes, int32_t n_shapes) {
  const int32_t profiles = std::max(1, engine.getNbOptimizationProfiles());
  if (profile < 0 || profile >= profiles) {
    invalid("the engine has no optimisation profile " + std::to_string(profile) + ", it has " + std::to_string(profiles));
  }
  std::vector<Tensor> list = declared(engine);
  for (int32_t i = 0; i < n_shapes; ++i) {
    const bool known = std::any_of(list.begin(), list.end(), [&](const Tensor& t) { return t.input && t.name == shapes[i].input; });
    if (!known) invalid(std::string("the engine has no input '") + shapes[i].input + "'");
  }
  for (Tensor& t : list) {
    element_bytes(t); // or refuse
    if (!t.input) continue;
    const trtact_trt_dims* asked = nullptr;
    for (int32_t i = 0; i < n_shapes; ++i) {
      if (t.name == shapes[i].input) asked = &shapes[i].dims;
    }
    t.dims = chosen(engine, t, profile, asked);
  }
  return list;
}

#if TRTACT_FAMILY_NAMED_TENSORS

// Receives one output of unknown size in memory that is large enough for any.
class Execution::Outlet final : public nvinfer1::IOutputAllocator {
 public:
  Outlet(std::string name, void* address, size_t bytes) : name(std::move(name)), address_(address), bytes_(bytes) {}

#if TRTACT_FAMILY_REALLOCATE_ON_STREAM
  void* reallocateOutputAsync(const char*, void*, uint64_t size, uint64_t, cudaStream_t) override {
#else
  void* reallocateOutput(const char*, void*, uint64_t size, uint64_t) noexcept override {
#endif
    return size <= bytes_ ? address_ : nullptr;
  }
  void notifyShape(const char*, const nvinfer1::Dims& dims) noexcept override { dims_ = dims; }

  const nvinfer1::Dims& dims() const { return dims_; }

  const std::string name;

 private:
  void* address_;
  size_t bytes_;
  nvinfer1::Dims dims_{};
};

void Execution::resize(std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) {
    if (t.input && !context_->setInputShape(t.name.c_str(), to_dims(t.dims))) {
      run_failed("give input '" + t.name + "' the size " + text(t.dims));
    }
  }
  for (Tensor& t : tensors) {
    if (!t.input) t.dims = sizes(context_->getTensorShape(t.name.c_str()));
  }
}

size_t Execution::most_bytes(const Tensor& t) const {
  const int64_t bytes = context_->getMaxOutputSize(t.name.c_str());
  if (bytes < 0) run_failed("find out how large output '" + t.name + "' can be");
  return static_cast<size_t>(bytes);
}

void Execution::bind(const Tensor& t, void* address, size_t bytes) {
  bool done = context_->setTensorAddress(t.name.c_str(), address);
  if (done && !t.input && dynamic(t.dims)) {
    outlets_.push_back(std::make_unique<Outlet>(t.name, address, bytes));
    done = context_->setOutputAllocator(t.name.c_str(), outlets_.back().get());
  }
  if (!done) run_failed("give tensor '" + t.name + "' its memory");
}

trtact_trt_dims Execution::found(const Tensor& t) const {
  for (const std::unique_ptr<Outlet>& outlet : outlets_) {
    if (outlet->name == t.name) return sizes(outlet->dims());
  }
  return t.dims;
}

void Execution::enqueue(cudaStream_t stream) {
  if (!context_->enqueueV3(stream)) run_failed("run the engine");
}

#else

class Execution::Outlet {};

void Execution::resize(std::vector<Tensor>& tensors) {
  const int32_t first = context_->getOptimizationProfile() * static_cast<int32_t>(tensors.size());
  for (const Tensor& t : tensors) {
    if (t.input && dynamic(sizes(engine_.getBindingDimensions(t.number))) &&
        !context_->setBindingDimensions(first + t.number, to_dims(t.dims))) {
      run_failed("give input '" + t.name + "' the size " + text(t.dims));
    }
  }
  for (Tensor& t : tensors) {
    if (!t.input) t.dims = sizes(context_->getBindingDimensions(first + t.number));
  }
}

size_t Execution::most_bytes(const Tensor& t) const {
  invalid("the size of output '" + t.name + "' depends on the data: TensorRT 8.5 or newer can run such engines");
}

void Execution::bind(const Tensor& t, void* address, size_t) {
  const int32_t count = static_cast<int32_t>(bindings_.size()) / std::max(1, engine_.getNbOptimizationProfiles());
  bindings_[static_cast<size_t>(context_->getOptimizationProfile() * count + t.number)] = address;
}

trtact_trt_dims Execution::found(const Tensor& t) const { return t.dims; }

void Execution::enqueue(cudaStream_t stream) {
  if (!context_->enqueueV2(bindings_.data(), stream, nullptr)) run_failed("run the engine");
}

#endif

Execution::Execution(nvinfer1::ICudaEngine& engine, int32_t profile, cudaStream_t stream) : engine_(engine) {
  context_.reset(engine.createExecutionContext());
  if (!context_) run_failed("create an execution context");
#if !TRTACT_FAMILY_NAMED_TENSORS
  bindings_.resize(static_cast<size_t>(engine.getNbBindings()));
#endif
  // Without dynamic sizes there is nothing to choose, and TensorRT 8 lets every
  // context have the one profile there is.
  bool choice = profile > 0;
  for (const Tensor& t : declared(engine)) choice = choice || (t.input && dynamic(t.dims));
  if (choice && context_->getOptimizationProfile() != profile && !context_->setOptimizationProfileAsync(profile, stream)) {
    run_failed("use optimisation profile " + std::to_string(profile) +
               " (TensorRT 8 gives a profile of dynamic sizes to one context at a time)");
  }
}

Execution::~Execution() = default;

} // namespace trtact
