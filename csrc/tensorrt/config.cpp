#include "config.h"

#include <cstring>
#include <string_view>

#include "failure.h"
#include "log.h"
#include "network.h"

namespace trtact {

void invalid(const std::string& text) { throw Failure(TRTACT_TRT_INVALID, text); }

void failed(const std::string& text) {
  Log& log = Log::instance();
  const std::string why = log.first_error();
  throw Failure(log.blamed_cuda() ? TRTACT_TRT_NO_DEVICE : TRTACT_TRT_FAILED,
                text + ": " + (why.empty() ? "it gave no reason" : why));
}

namespace {

std::string family_version() {
  return std::string(family_name) + " " + std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR);
}

// Refuses an option that is asked for and that the family has not got.
void need(bool asked, uint32_t feature, const char* what) {
  if (asked && !(features & feature)) invalid(family_version() + " has no " + what);
}

void check_types(const trtact_trt_build_options& o) {
  if (!TRTACT_FAMILY_WEAK_TYPES && (o.fp16 || o.int8)) {
    invalid(std::string(family_name) + " takes types from the model alone: write FP16 and INT8 into it");
  }
  if (o.calibration_cache != nullptr && (!(features & TRTACT_TRT_CALIBRATION_CACHE) || !o.int8)) {
    invalid("a calibration cache needs int8 and a TensorRT older than 11");
  }
  need(o.n_layer_types > 0, TRTACT_TRT_LAYER_TYPES, "types of single layers: write them into the model");
  for (int32_t i = 0; i < o.n_layer_types; ++i) {
    const int32_t type = o.layer_types[i].type;
    if (type != TRTACT_TRT_FLOAT32 && type != TRTACT_TRT_FLOAT16 && type != TRTACT_TRT_INT8) {
      invalid(std::string("layer '") + o.layer_types[i].node + "' may be FP32, FP16 or INT8, not type " + std::to_string(type));
    }
  }
}

void check_targets(const trtact_trt_build_options& o) {
  need(o.n_targets > 0, TRTACT_TRT_TARGETS, "targets: it builds for the GPU of this machine only");
  for (int32_t i = 0; i < o.n_targets; ++i) {
    bool known = false;
    for (int32_t k = 0; k < n_targets; ++k) known = known || targets[k] == o.targets[i];
    if (!known) invalid(std::string(family_name) + " does not build for sm_" + std::to_string(o.targets[i]));
  }
}

struct Source {
  uint32_t bit;
  const char* name;
  int32_t number; // TensorRT's, -1: this family has it not
};

constexpr int32_t number(bool there, int32_t n) { return there ? n : -1; }

// The numbers begin anew where cuBLAS and cuDNN are gone.
constexpr int32_t first_own = TRTACT_FAMILY_CUDA_LIBRARIES ? 3 : 0;
constexpr Source sources[] = {
    {TRTACT_TRT_CUBLAS, "cuBLAS", number(TRTACT_FAMILY_CUDA_LIBRARIES, 0)},
    {TRTACT_TRT_CUBLAS_LT, "cuBLAS Lt", number(TRTACT_FAMILY_CUDA_LIBRARIES, 1)},
    {TRTACT_TRT_CUDNN, "cuDNN", number(TRTACT_FAMILY_CUDA_LIBRARIES, 2)},
    {TRTACT_TRT_EDGE_MASK_CONVOLUTIONS, "edge mask convolutions", number(TRTACT_FAMILY_EDGE_MASK_CONVOLUTIONS, first_own)},
    {TRTACT_TRT_JIT_CONVOLUTIONS, "JIT convolutions", number(TRTACT_FAMILY_JIT_CONVOLUTIONS, first_own + 1)},
};

#if TRTACT_FAMILY_EDGE_MASK_CONVOLUTIONS
static_assert(first_own == static_cast<int32_t>(nvinfer1::TacticSource::kEDGE_MASK_CONVOLUTIONS));
#endif
#if TRTACT_FAMILY_JIT_CONVOLUTIONS
static_assert(first_own + 1 == static_cast<int32_t>(nvinfer1::TacticSource::kJIT_CONVOLUTIONS));
#endif
#if TRTACT_FAMILY_CUDA_LIBRARIES
static_assert(static_cast<int32_t>(nvinfer1::TacticSource::kCUBLAS) == 0 &&
              static_cast<int32_t>(nvinfer1::TacticSource::kCUBLAS_LT) == 1 &&
              static_cast<int32_t>(nvinfer1::TacticSource::kCUDNN) == 2);
#endif

void check_sources(const trtact_trt_build_options& o) {
  for (const Source& s : sources) {
    if (((o.sources_on | o.sources_off) & s.bit) && !(tactic_sources & s.bit)) {
      invalid(family_version() + " has no tactic source " + s.name);
    }
  }
  if (o.sources_on & o.sources_off) invalid("a tactic source is both asked for and left out");
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

} // namespace

void check(const trtact_trt_build_options& o) {
  if (o.struct_size != sizeof(trtact_trt_build_options)) {
    invalid("the build options have another layout (struct size " + std::to_string(o.struct_size) + ")");
  }
  if (o.onnx == nullptr || o.onnx_bytes == 0) invalid("the ONNX model is empty");
  check_types(o);
  check_targets(o);
  check_sources(o);
  if (o.optimization_level < -1 || o.optimization_level > 5) {
    invalid("optimization level " + std::to_string(o.optimization_level) + ", want 0 to 5");
  }
  need(o.optimization_level >= 0, TRTACT_TRT_OPTIMIZATION_LEVEL, "optimization level (TensorRT proper has since 8.6)");
  need(o.sparse_weights, TRTACT_TRT_SPARSE_WEIGHTS, "kernels for sparse weights to allow");
  need(o.keep_timings, TRTACT_TRT_TIMING_CACHE, "timing cache");
  need(o.version_compatible, TRTACT_TRT_VERSION_COMPATIBLE, "version-compatible engines");
  need(o.hardware_compatible == TRTACT_TRT_AMPERE_PLUS, TRTACT_TRT_AMPERE_PLUS_ENGINES,
       "engines for all GPUs since Ampere");
  need(o.hardware_compatible == TRTACT_TRT_SAME_CAPABILITY, TRTACT_TRT_SAME_CAPABILITY_ENGINES,
       "engines for all GPUs of one compute capability");
  if (o.hardware_compatible < 0 || o.hardware_compatible > TRTACT_TRT_SAME_CAPABILITY) {
    invalid("hardware compatibility " + std::to_string(o.hardware_compatible));
  }
}

uint32_t network_flags() {
#if NV_TENSORRT_MAJOR == 8
  return 1u << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#else
  return 0; // explicit batch is all there is
#endif
}

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

#if TRTACT_FAMILY_WEAK_TYPES
namespace {

// The parser names a layer after its node, and further ones of the same node
// with "_" and a number behind it.
bool made_from(std::string_view layer, std::string_view node) {
  if (layer.substr(0, node.size()) != node) return false;
  const std::string_view rest = layer.substr(node.size());
  if (rest.empty()) return true;
  return rest.size() > 1 && rest[0] == '_' && rest.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

// A layer that computes with floats, so that its type can be chosen.
bool has_type(const nvinfer1::ILayer& layer) {
  switch (layer.getType()) {
    case nvinfer1::LayerType::kCONSTANT:
    case nvinfer1::LayerType::kSHAPE:
    case nvinfer1::LayerType::kQUANTIZE:
    case nvinfer1::LayerType::kDEQUANTIZE: return false;
    default: break;
  }
  for (int32_t i = 0; i < layer.getNbOutputs(); ++i) {
    const nvinfer1::DataType type = layer.getOutput(i)->getType();
    if (type != nvinfer1::DataType::kFLOAT && type != nvinfer1::DataType::kHALF) return false;
  }
  return layer.getNbOutputs() > 0;
}

// A type binds what the layer computes in; a float type what it writes too, or
// INT8 of its readers could be written in the same kernel.
void set_layer_type(nvinfer1::ILayer& layer, int32_t type) {
  layer.setPrecision(static_cast<nvinfer1::DataType>(type));
  if (type == TRTACT_TRT_INT8) return;
  for (int32_t i = 0; i < layer.getNbOutputs(); ++i) {
    if (!layer.getOutput(i)->isNetworkOutput()) layer.setOutputType(i, static_cast<nvinfer1::DataType>(type));
  }
}

void set_layer_types(nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config,
                     const trtact_trt_build_options& o) {
  if (o.n_layer_types == 0) return;
  for (int32_t i = 0; i < o.n_layer_types; ++i) {
    const trtact_trt_layer_type& wanted = o.layer_types[i];
    for (int32_t k = 0; k < network.getNbLayers(); ++k) {
      nvinfer1::ILayer& layer = *network.getLayer(k);
      if (made_from(layer.getName(), wanted.node) && has_type(layer)) set_layer_type(layer, wanted.type);
    }
  }
  config.setFlag(nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
}

} // namespace
#endif

void set_types([[maybe_unused]] nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config,
               const trtact_trt_build_options& o) {
  using nvinfer1::BuilderFlag;
#if TRTACT_FAMILY_WEAK_TYPES
  if (o.fp16) config.setFlag(BuilderFlag::kFP16);
  if (o.int8 || has_quantize(network)) config.setFlag(BuilderFlag::kINT8);
  set_layer_types(network, config, o);
#endif
  if (o.no_tf32) config.clearFlag(BuilderFlag::kTF32);
  if (o.sparse_weights) config.setFlag(BuilderFlag::kSPARSE_WEIGHTS);
}

void set_limits(nvinfer1::IBuilderConfig& config, const trtact_trt_build_options& o) {
  if (o.workspace_bytes > 0) {
    config.setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, o.workspace_bytes);
  }
#if TRTACT_FAMILY_OPTIMIZATION_LEVEL
  if (o.optimization_level >= 0) config.setBuilderOptimizationLevel(o.optimization_level);
#endif
  if (o.sources_on | o.sources_off) {
    nvinfer1::TacticSources chosen = config.getTacticSources();
    for (const Source& s : sources) {
      if (o.sources_on & s.bit) chosen |= 1u << s.number;
      if (o.sources_off & s.bit) chosen &= ~(1u << s.number);
    }
    if (!config.setTacticSources(chosen)) failed("set the tactic sources");
  }
}

void set_uses(nvinfer1::IBuilderConfig& config, const trtact_trt_build_options& o) {
  using nvinfer1::ProfilingVerbosity;
  switch (o.verbosity) {
    case TRTACT_TRT_NAMES: config.setProfilingVerbosity(ProfilingVerbosity::kLAYER_NAMES_ONLY); break;
    case TRTACT_TRT_NO_NAMES: config.setProfilingVerbosity(ProfilingVerbosity::kNONE); break;
    case TRTACT_TRT_DETAILED: config.setProfilingVerbosity(ProfilingVerbosity::kDETAILED); break;
    default: invalid("verbosity " + std::to_string(o.verbosity));
  }
  if (o.refit) config.setFlag(nvinfer1::BuilderFlag::kREFIT);
#if TRTACT_FAMILY_COMPATIBILITY
  if (o.version_compatible) config.setFlag(nvinfer1::BuilderFlag::kVERSION_COMPATIBLE);
  if (o.hardware_compatible == TRTACT_TRT_AMPERE_PLUS) {
    config.setHardwareCompatibilityLevel(nvinfer1::HardwareCompatibilityLevel::kAMPERE_PLUS);
  }
#endif
#if TRTACT_FAMILY_SAME_CAPABILITY
  if (o.hardware_compatible == TRTACT_TRT_SAME_CAPABILITY) {
    config.setHardwareCompatibilityLevel(nvinfer1::HardwareCompatibilityLevel::kSAME_COMPUTE_CAPABILITY);
  }
#endif
#if TRTACT_FAMILY_RTX
  if (o.n_targets > 0) {
    bool ok = config.setNbComputeCapabilities(o.n_targets);
    for (int32_t i = 0; i < o.n_targets; ++i) {
      ok = ok && config.setComputeCapability(static_cast<nvinfer1::ComputeCapability>(o.targets[i]), i);
    }
    if (!ok) failed("set the targets");
  }
#endif
}

std::unique_ptr<nvinfer1::ITimingCache> attach_timings([[maybe_unused]] nvinfer1::IBuilderConfig& config,
                                                       [[maybe_unused]] const trtact_trt_build_options& o) {
#if TRTACT_FAMILY_TIMING_CACHE
  if (!o.keep_timings) return nullptr;
  std::unique_ptr<nvinfer1::ITimingCache> cache(config.createTimingCache(o.timing_cache, o.timing_cache_bytes));
  // Measurements of another GPU are refused, not used.
  if (!cache || !config.setTimingCache(*cache, false)) {
    const std::string why = Log::instance().first_error();
    invalid("TensorRT does not take the timing cache, which is another GPU's or version's or no cache: name another file" +
            (why.empty() ? "" : " (" + why + ")"));
  }
  return cache;
#else
  return nullptr;
#endif
}

} // namespace trtact
