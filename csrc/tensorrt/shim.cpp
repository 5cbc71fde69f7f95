// The table of functions that a shim answers with: see trtact/tensorrt.h.
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "failure.h"
#include "family.h"
#include "handles.h"
#include "library.h"
#include "log.h"
#include "network.h"
#include "trtact/tensorrt.h"

struct trtact_trt_engine : private trtact::Counted {
  std::unique_ptr<nvinfer1::IHostMemory> data;
  trtact::Description network;
  std::string inspection;
};

namespace trtact {
namespace {

#if TRTACT_FAMILY_RTX
constexpr int32_t targets[] = {75, 80, 86, 89, 120,
#if NV_TENSORRT_MINOR >= 5
                               121
#endif
};
constexpr int32_t n_targets = static_cast<int32_t>(std::size(targets));
#else
constexpr const int32_t* targets = nullptr;
constexpr int32_t n_targets = 0;
#endif

constexpr uint32_t when(bool there, uint32_t feature) { return there ? feature : 0; }
constexpr uint32_t features = when(TRTACT_FAMILY_WEAK_TYPES, TRTACT_TRT_WEAK_TYPES) |
                              when(TRTACT_FAMILY_STRONG_TYPES_BY_CHOICE, TRTACT_TRT_STRONG_TYPES) |
                              when(TRTACT_FAMILY_WEAK_TYPES, TRTACT_TRT_CALIBRATION_CACHE) |
                              when(TRTACT_FAMILY_RTX, TRTACT_TRT_TARGETS);

[[noreturn]] void invalid(const std::string& text) { throw Failure(TRTACT_TRT_INVALID, text); }

// "text: what TensorRT said first", with the status for a GPU that is missing.
[[noreturn]] void failed(const std::string& text) {
  Log& log = Log::instance();
  const std::string why = log.first_error();
  throw Failure(log.blamed_cuda() ? TRTACT_TRT_NO_DEVICE : TRTACT_TRT_FAILED,
                text + ": " + (why.empty() ? "it gave no reason" : why));
}

void check(const trtact_trt_build_options& o) {
  if (o.struct_size != sizeof(trtact_trt_build_options)) {
    invalid("the build options have another layout (struct size " + std::to_string(o.struct_size) + ")");
  }
  if (o.onnx == nullptr || o.onnx_bytes == 0) invalid("the ONNX model is empty");
  if (!TRTACT_FAMILY_WEAK_TYPES && (o.fp16 || o.int8)) {
    invalid(std::string(family_name) + " takes types from the model alone: write FP16 and INT8 into it");
  }
  if (o.strongly_typed && (o.fp16 || o.int8)) {
    invalid("strongly typed and fp16 or int8 exclude each other");
  }
  if (o.calibration_cache != nullptr && (!(features & TRTACT_TRT_CALIBRATION_CACHE) || !o.int8)) {
    invalid("a calibration cache needs int8 and a TensorRT older than 11");
  }
  if (o.n_targets > 0 && !(features & TRTACT_TRT_TARGETS)) {
    invalid(std::string(family_name) + " builds for the GPU of this machine only");
  }
  for (int32_t i = 0; i < o.n_targets; ++i) {
    bool known = false;
    for (int32_t k = 0; k < n_targets; ++k) known = known || targets[k] == o.targets[i];
    if (!known) invalid(std::string(family_name) + " does not build for sm_" + std::to_string(o.targets[i]));
  }
  if (o.optimization_level < -1 || o.optimization_level > 5) {
    invalid("optimization level " + std::to_string(o.optimization_level) + ", want 0 to 5");
  }
}

#if TRTACT_FAMILY_WEAK_TYPES
// Implicit INT8 with scales that were found elsewhere: the cache is the whole
// calibration, no image is ever asked for.
class KnownScales final : public nvinfer1::IInt8EntropyCalibrator2 {
 public:
  KnownScales(const void* cache, size_t bytes) : cache_(cache), bytes_(bytes) {}
  int32_t getBatchSize() const noexcept override { return 1; }
  bool getBatch(void*[], const char*[], int32_t) noexcept override { return false; }
  const void* readCalibrationCache(size_t& length) noexcept override {
    length = bytes_;
    return cache_;
  }
  void writeCalibrationCache(const void*, size_t) noexcept override {}

 private:
  const void* cache_;
  size_t bytes_;
};
#endif

uint32_t network_flags([[maybe_unused]] const trtact_trt_build_options& o) {
#if TRTACT_FAMILY_RTX || NV_TENSORRT_MAJOR >= 11
  return 0; // explicit batch and strong types are all there is
#else
  uint32_t flags = 0;
#if NV_TENSORRT_MAJOR == 8
  flags |= 1u << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#endif
#if TRTACT_FAMILY_STRONG_TYPES_BY_CHOICE
  if (o.strongly_typed) {
    flags |= 1u << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
  }
#endif
  return flags;
#endif
}

// A parser's description without the lines in which, on a machine without a
// driver, every error has one about CUDA in its wake.
std::string first_lines(const std::string& description) {
  const size_t end = description.find("[checkMacros.cpp::catchCudaError");
  return description.substr(0, end == 0 ? std::string::npos : end);
}

void parse(nvonnxparser::IParser& parser, const nvinfer1::INetworkDefinition& network,
           const trtact_trt_build_options& o) {
  const bool parsed = parser.parse(o.onnx, o.onnx_bytes, nullptr);
  if (parsed && network.getNbOutputs() > 0) return;
  std::string text = std::string(family_name) + "'s parser refuses the model";
  // Some bytes that are no model at all parse as an empty one.
  if (parsed) throw Failure(TRTACT_TRT_BAD_MODEL, text + ": it has no outputs");
  const int count = parser.getNbErrors();
  for (int i = 0; i < count && i < 3; ++i) {
    const nvonnxparser::IParserError* error = parser.getError(i);
    if (error == nullptr) continue;
    text += i == 0 ? ": " : "; ";
    if (error->node() >= 0) {
      text += "node " + std::to_string(error->node());
#if TRTACT_FAMILY_NODE_NAMES
      const char* name = error->nodeName();
      const char* op = error->nodeOperator();
      if (name != nullptr && *name != 0) text += std::string(" '") + name + "'";
      if (op != nullptr && *op != 0) text += std::string(" (") + op + ")";
#endif
      text += ": ";
    }
    text += error->desc() != nullptr ? first_lines(error->desc()) : "no description";
  }
  if (count > 3) text += "; and " + std::to_string(count - 3) + " more";
  if (count == 0 && !Log::instance().first_error().empty()) {
    text += ": " + Log::instance().first_error();
  }
  throw Failure(TRTACT_TRT_BAD_MODEL, text);
}

// A shape as text, "1x3x?x?".
std::string size_text(const nvinfer1::Dims& dims) {
  std::string text;
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    text += i == 0 ? "" : "x";
    text += dims.d[i] < 0 ? "?" : std::to_string(dims.d[i]);
  }
  return text;
}

// Every input with a dynamic size needs a profile; every profile needs an input.
void set_profiles(nvinfer1::IBuilder& builder, nvinfer1::INetworkDefinition& network,
                  nvinfer1::IBuilderConfig& config, const trtact_trt_build_options& o) {
  const auto given = [&o](const char* name) {
    for (int32_t i = 0; i < o.n_profiles; ++i) {
      if (std::strcmp(o.profiles[i].input, name) == 0) return true;
    }
    return false;
  };
  for (int32_t i = 0; i < network.getNbInputs(); ++i) {
    const nvinfer1::ITensor* input = network.getInput(i);
    const nvinfer1::Dims dims = input->getDimensions();
    for (int32_t d = 0; d < dims.nbDims; ++d) {
      if (dims.d[d] < 0 && !given(input->getName())) {
        invalid(std::string("input '") + input->getName() + "' has a dynamic size: give its shape");
      }
    }
  }
  if (o.n_profiles == 0) return;

  nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
  if (profile == nullptr) failed("create optimization profile");
  for (int32_t i = 0; i < o.n_profiles; ++i) {
    const trtact_trt_profile& p = o.profiles[i];
    const nvinfer1::ITensor* input = nullptr;
    for (int32_t k = 0; k < network.getNbInputs(); ++k) {
      if (std::strcmp(network.getInput(k)->getName(), p.input) == 0) input = network.getInput(k);
    }
    if (input == nullptr) invalid(std::string("the model has no input '") + p.input + "'");
    const nvinfer1::Dims dims = input->getDimensions();
    bool fits = dims.nbDims == p.min.rank && dims.nbDims == p.opt.rank && dims.nbDims == p.max.rank;
    for (int32_t d = 0; fits && d < dims.nbDims; ++d) {
      fits = dims.d[d] < 0 || (dims.d[d] == p.min.size[d] && dims.d[d] == p.max.size[d]);
    }
    if (!fits) {
      invalid(std::string("the sizes given for input '") + p.input + "' contradict the model's " + size_text(dims));
    }
    using Selector = nvinfer1::OptProfileSelector;
    if (!profile->setDimensions(p.input, Selector::kMIN, to_dims(p.min)) ||
        !profile->setDimensions(p.input, Selector::kOPT, to_dims(p.opt)) ||
        !profile->setDimensions(p.input, Selector::kMAX, to_dims(p.max))) {
      invalid(std::string("TensorRT does not take these sizes for input '") + p.input + "'");
    }
  }
  if (!profile->isValid() || config.addOptimizationProfile(profile) < 0) {
    invalid("TensorRT does not take the sizes given for the inputs: " + Log::instance().first_error());
  }
}

void set_types([[maybe_unused]] const nvinfer1::INetworkDefinition& network,
               nvinfer1::IBuilderConfig& config, const trtact_trt_build_options& o) {
  using nvinfer1::BuilderFlag;
#if TRTACT_FAMILY_WEAK_TYPES
  if (o.fp16) config.setFlag(BuilderFlag::kFP16);
  if (!o.strongly_typed && (o.int8 || has_quantize(network))) config.setFlag(BuilderFlag::kINT8);
#endif
  if (o.no_tf32) config.clearFlag(BuilderFlag::kTF32);
}

void set_limits(nvinfer1::IBuilderConfig& config, const trtact_trt_build_options& o) {
  if (o.workspace_bytes > 0) {
    config.setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, o.workspace_bytes);
  }
#if TRTACT_FAMILY_OPTIMIZATION_LEVEL
  if (o.optimization_level >= 0) config.setBuilderOptimizationLevel(o.optimization_level);
#endif
  using nvinfer1::ProfilingVerbosity;
  switch (o.verbosity) {
    case TRTACT_TRT_NAMES: config.setProfilingVerbosity(ProfilingVerbosity::kLAYER_NAMES_ONLY); break;
    case TRTACT_TRT_NO_NAMES: config.setProfilingVerbosity(ProfilingVerbosity::kNONE); break;
    case TRTACT_TRT_DETAILED: config.setProfilingVerbosity(ProfilingVerbosity::kDETAILED); break;
    default: invalid("verbosity " + std::to_string(o.verbosity));
  }
#if TRTACT_FAMILY_RTX
  if (o.n_targets > 0) {
    bool ok = config.setNbComputeCapabilities(o.n_targets);
    for (int32_t i = 0; i < o.n_targets; ++i) {
      ok = ok && config.setComputeCapability(static_cast<nvinfer1::ComputeCapability>(o.targets[i]), i);
    }
    if (!ok) failed("set the targets");
  }
#endif
  // No timing cache is attached: with one, TensorRT for RTX looks for a GPU.
}

std::unique_ptr<trtact_trt_engine> build(const Library& library, const trtact_trt_build_options& o) {
  check(o);
  const Log::Scope log(o.log_path, o.log_level);
  // In this order, since TensorRT wants them destroyed in the reverse one.
  const std::unique_ptr<nvinfer1::IBuilder> builder = library.builder();
  const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(network_flags(o)));
  if (!network) failed("create network");
  const std::unique_ptr<nvonnxparser::IParser> parser = library.parser(*network);
  parse(*parser, *network, o);
#if TRTACT_FAMILY_WEAK_TYPES
  KnownScales scales(o.calibration_cache, o.calibration_cache_bytes);
#endif
  const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  if (!config) failed("create builder configuration");
  set_profiles(*builder, *network, *config, o);
  set_types(*network, *config, o);
  set_limits(*config, o);
#if TRTACT_FAMILY_WEAK_TYPES
  if (o.calibration_cache != nullptr) config->setInt8Calibrator(&scales);
#endif

  auto engine = std::make_unique<trtact_trt_engine>();
  engine->network = describe(*network);
  engine->data.reset(builder->buildSerializedNetwork(*network, *config));
  if (!engine->data || engine->data->size() == 0) failed(std::string(family_name) + " builds no engine");
  return engine;
}

void inspect(const Library& library, trtact_trt_engine& engine) {
  const Log::Scope log(nullptr, 0);
  const std::unique_ptr<nvinfer1::IRuntime> runtime = library.runtime();
  const std::unique_ptr<nvinfer1::ICudaEngine> loaded(
      runtime->deserializeCudaEngine(engine.data->data(), engine.data->size()));
  if (!loaded) failed("load the engine");
  const std::unique_ptr<nvinfer1::IEngineInspector> inspector(loaded->createEngineInspector());
  if (!inspector) failed("create engine inspector");
  const char* json = inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON);
  engine.inspection = json != nullptr ? json : "";
}

// The functions of the table.

int32_t library_open(const char* const* folders, int32_t n_folders, int32_t loader,
                     trtact_trt_library** out, trtact_trt_error* error) {
  return border(error, [&] {
    *out = nullptr;
    std::vector<std::string> list;
    for (int32_t i = 0; i < n_folders; ++i) list.emplace_back(folders[i]);
    *out = new trtact_trt_library(list, loader != 0);
  });
}

void library_close(trtact_trt_library* library) { delete library; }

void library_version(const trtact_trt_library* library, int32_t version[3]) {
  const Version& v = library->opened.version();
  version[0] = v.major;
  version[1] = v.minor;
  version[2] = v.patch;
}

const char* library_path(const trtact_trt_library* library) { return library->opened.path().c_str(); }

int32_t probe(trtact_trt_library* library, const char* log_path, trtact_trt_error* error) {
  return border(error, [&] {
    const Log::Scope log(log_path, TRTACT_TRT_LOG_VERBOSE);
    library->opened.builder();
  });
}

int32_t engine_build(trtact_trt_library* library, const trtact_trt_build_options* options,
                     trtact_trt_engine** out, trtact_trt_error* error) {
  return border(error, [&] {
    *out = nullptr;
    *out = build(library->opened, *options).release();
  });
}

void engine_release(trtact_trt_engine* engine) { delete engine; }

const void* engine_data(const trtact_trt_engine* engine, size_t* bytes) {
  *bytes = engine->data->size();
  return engine->data->data();
}

int32_t engine_io_count(const trtact_trt_engine* engine) {
  return static_cast<int32_t>(engine->network.io.size());
}

void engine_io(const trtact_trt_engine* engine, int32_t i, trtact_trt_io* out) {
  *out = engine->network.io[static_cast<size_t>(i)];
}

int32_t engine_layer_count(const trtact_trt_engine* engine) {
  return static_cast<int32_t>(engine->network.layers.size());
}

void engine_layer(const trtact_trt_engine* engine, int32_t i, trtact_trt_layer* out) {
  *out = engine->network.layers[static_cast<size_t>(i)];
}

int32_t engine_inspect(trtact_trt_library* library, trtact_trt_engine* engine, const char** json,
                       trtact_trt_error* error) {
  return border(error, [&] {
    *json = nullptr;
    inspect(library->opened, *engine);
    *json = engine->inspection.c_str();
  });
}

int64_t live() { return live_handles; }

const trtact_trt_api table = {
    TRTACT_TRT_ABI,
    sizeof(trtact_trt_api),
    TRTACT_TRT_FAMILY,
    family_name,
    {NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH},
    features,
    targets,
    n_targets,
    library_open,
    library_close,
    library_version,
    library_path,
    probe,
    engine_build,
    engine_release,
    engine_data,
    engine_io_count,
    engine_io,
    engine_layer_count,
    engine_layer,
    engine_inspect,
    live,
    &runtime_table,
};

} // namespace
} // namespace trtact

const trtact_trt_api* trtact_trt_open(uint32_t abi) {
  return abi == TRTACT_TRT_ABI ? &trtact::table : nullptr;
}
