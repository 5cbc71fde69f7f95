// The table of functions that a shim answers with: see trtact/tensorrt.h.
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "config.h"
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
  std::unique_ptr<nvinfer1::IHostMemory> timings; // or NULL
};

namespace trtact {
namespace {

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

std::unique_ptr<trtact_trt_engine> build(const Library& library, const trtact_trt_build_options& o) {
  check(o);
  const Log::Scope log(o.log_path, o.log_level);
  if (TRTACT_FAMILY_RTX && o.refit) require_gpu(); // it compiles kernels then
  // In this order, since TensorRT wants them destroyed in the reverse one.
  const std::unique_ptr<nvinfer1::IBuilder> builder = library.builder();
  const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(network_flags()));
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
  set_uses(*config, o);
  const std::unique_ptr<nvinfer1::ITimingCache> timings = attach_timings(*config, o);
#if TRTACT_FAMILY_WEAK_TYPES
  if (o.calibration_cache != nullptr) config->setInt8Calibrator(&scales);
#endif

  auto engine = std::make_unique<trtact_trt_engine>();
  engine->network = describe(*network);
  engine->data.reset(builder->buildSerializedNetwork(*network, *config));
  if (!engine->data || engine->data->size() == 0) failed(std::string(family_name) + " builds no engine");
  if (timings) engine->timings.reset(timings->serialize());
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

const void* engine_timings(const trtact_trt_engine* engine, size_t* bytes) {
  *bytes = engine->timings ? engine->timings->size() : 0;
  return engine->timings ? engine->timings->data() : nullptr;
}

int64_t live() { return live_handles; }

const trtact_trt_api table = {
    TRTACT_TRT_ABI,
    sizeof(trtact_trt_api),
    TRTACT_TRT_FAMILY,
    family_name,
    {NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH},
    features,
    tactic_sources,
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
    engine_timings,
    live,
    &runtime_table,
};

} // namespace
} // namespace trtact

const trtact_trt_api* trtact_trt_open(uint32_t abi) {
  return abi == TRTACT_TRT_ABI ? &trtact::table : nullptr;
}
