#include "session.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "log.h"

namespace trtact {
namespace {

size_t bytes_of(const Tensor& t) {
  size_t n = element_bytes(t);
  for (int32_t i = 0; i < t.dims.rank; ++i) n *= static_cast<size_t>(t.dims.size[i]);
  return n;
}

bool unknown(const Tensor& t) {
  return std::any_of(t.dims.size, t.dims.size + t.dims.rank, [](int64_t n) { return n < 0; });
}

void check(const trtact_trt_session_options& o) {
  const auto invalid = [](const std::string& text) { throw Failure(TRTACT_TRT_INVALID, text); };
  if (o.struct_size != sizeof(trtact_trt_session_options)) {
    invalid("the session options have another layout (struct size " + std::to_string(o.struct_size) + ")");
  }
  if (o.engine == nullptr || o.engine_bytes == 0) invalid("the engine is empty");
  if (o.contexts < 1) invalid(std::to_string(o.contexts) + " execution contexts");
}

// Whether TensorRT's reason for not loading is the machine's and not the engine's.
bool is_memory(const std::string& why) {
  return why.find("out of memory") != std::string::npos || why.find("OutOfMemory") != std::string::npos;
}

} // namespace

Lane::Lane(nvinfer1::ICudaEngine& engine, int32_t profile, std::vector<Tensor>& tensors)
    : execution(engine, profile, stream.get()) {
  stream.wait();
  execution.resize(tensors);
  for (const Tensor& t : tensors) {
    const size_t bytes = unknown(t) ? execution.most_bytes(t) : bytes_of(t);
    buffers.push_back(std::make_unique<cuda::Buffer>(bytes, t.name));
    is_input.push_back(t.input);
    execution.bind(t, buffers.back()->device(), bytes);
  }
}

void Lane::inputs_to_device() const {
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (is_input[i]) buffers[i]->to_device(stream.get());
  }
}

void Lane::outputs_to_host() const {
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (!is_input[i]) buffers[i]->to_host(stream.get());
  }
}

// What TensorRT's profiler reports: the layers of each run in the same order.
class Session::Layers final : public nvinfer1::IProfiler {
 public:
  struct Layer {
    std::string name;
    double sum = 0;
  };

  void reportLayerTime(const char* name, float milliseconds) noexcept override {
    try {
      if (name == nullptr) name = "";
      if (at_ == list.size() || list[at_].name != name) {
        // Some that were in the run before are missing; names may occur twice, so
        // those passed are not looked at.
        while (at_ < list.size() && list[at_].name != name) ++at_;
        if (at_ == list.size()) list.push_back({name, 0});
      }
      list[at_++].sum += milliseconds;
    } catch (...) { // out of memory: a layer is missing
    }
  }
  void begin() { at_ = 0; }

  std::vector<Layer> list;

 private:
  size_t at_ = 0;
};

Session::Session(const Library& library, const trtact_trt_session_options& o)
    : log_path_((check(o), o.log_path != nullptr ? o.log_path : "")), log_level_(o.log_level), device_(o.device) {
  const Log::Scope log(log_path_.c_str(), log_level_);
  const size_t before = device_.free_memory();
  runtime_ = library.runtime();
  engine_.reset(runtime_->deserializeCudaEngine(o.engine, o.engine_bytes));
  if (!engine_) {
    const std::string why = Log::instance().first_error();
    throw Failure(is_memory(why) ? TRTACT_TRT_FAILED : TRTACT_TRT_BAD_MODEL,
                  std::string(family_name) + " " + library.version().text() + " does not load the engine: " +
                      (why.empty() ? "it gave no reason" : why));
  }
  tensors_ = tensors_of(*engine_, o.profile, o.shapes, o.n_shapes);
  for (int32_t i = 0; i < o.contexts; ++i) lanes_.push_back(std::make_unique<Lane>(*engine_, o.profile, tensors_));
  if (o.layers) {
    layers_ = std::make_unique<Layers>();
    profiled_ = std::make_unique<Lane>(*engine_, o.profile, tensors_);
    nvinfer1::IExecutionContext& context = profiled_->execution.context();
    context.setProfiler(layers_.get());
    context.setEnqueueEmitsProfile(false); // reported when the run is over
  }
  const size_t after = device_.free_memory();
  device_bytes_ = before > after ? before - after : 0; // others use the device too
}

Session::~Session() = default;

void* Session::memory(size_t tensor, size_t& bytes) {
  const cuda::Buffer& buffer = *lanes_[0]->buffers[tensor];
  bytes = buffer.bytes();
  return buffer.host();
}

// Gives another lane the inputs of the first.
void Session::same_inputs(Lane& lane) const {
  if (&lane != lanes_[0].get()) {
    for (size_t i = 0; i < lane.buffers.size(); ++i) {
      if (lane.is_input[i]) std::memcpy(lane.buffers[i]->host(), lanes_[0]->buffers[i]->host(), lane.buffers[i]->bytes());
    }
  }
}

void Session::run() {
  device_.enter();
  const Log::Scope log(log_path_.c_str(), log_level_);
  Lane& lane = *lanes_[0];
  lane.inputs_to_device();
  lane.execution.enqueue(lane.stream.get());
  lane.outputs_to_host();
  lane.stream.wait();
  for (Tensor& t : tensors_) t.dims = lane.execution.found(t);
}

const std::vector<trtact_trt_layer_time>& Session::profile(int32_t iterations) {
  if (!profiled_) throw Failure(TRTACT_TRT_INVALID, "the session was opened without layers to profile");
  if (iterations < 1) throw Failure(TRTACT_TRT_INVALID, std::to_string(iterations) + " iterations to profile");
  device_.enter();
  const Log::Scope log(log_path_.c_str(), log_level_);
  Lane& lane = *profiled_;
  same_inputs(lane);
  lane.inputs_to_device();
  layers_->list.clear();
  for (int32_t i = -1; i < iterations; ++i) {
    layers_->begin();
    lane.execution.enqueue(lane.stream.get());
    lane.stream.wait();
    if (!lane.execution.context().reportToProfiler()) run_failed("profile the engine's layers");
    if (i < 0) { // the first run warms up
      for (Layers::Layer& layer : layers_->list) layer.sum = 0;
    }
  }
  times_.clear();
  for (const Layers::Layer& layer : layers_->list) times_.push_back({layer.name.c_str(), layer.sum / iterations});
  return times_;
}

const std::string& Session::inspect() {
  device_.enter();
  const Log::Scope log(log_path_.c_str(), log_level_);
  const std::unique_ptr<nvinfer1::IEngineInspector> inspector(engine_->createEngineInspector());
  if (!inspector) run_failed("create an engine inspector");
  const char* json = inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON);
  inspection_ = json != nullptr ? json : "";
  return inspection_;
}

} // namespace trtact
