// From build options to TensorRT's builder configuration.
#pragma once

#include <iterator>
#include <memory>
#include <string>

#include "family.h"
#include "trtact/tensorrt.h"

namespace trtact {

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

constexpr uint32_t when(bool there, uint32_t bit) { return there ? bit : 0; }

constexpr uint32_t features =
    when(TRTACT_FAMILY_WEAK_TYPES, TRTACT_TRT_WEAK_TYPES | TRTACT_TRT_CALIBRATION_CACHE | TRTACT_TRT_LAYER_TYPES) |
    when(TRTACT_FAMILY_RTX, TRTACT_TRT_TARGETS) |
    when(TRTACT_FAMILY_TIMING_CACHE, TRTACT_TRT_TIMING_CACHE) |
    when(TRTACT_FAMILY_OPTIMIZATION_LEVEL, TRTACT_TRT_OPTIMIZATION_LEVEL) |
    when(TRTACT_FAMILY_SPARSE_WEIGHTS, TRTACT_TRT_SPARSE_WEIGHTS) |
    when(TRTACT_FAMILY_COMPATIBILITY, TRTACT_TRT_VERSION_COMPATIBLE | TRTACT_TRT_AMPERE_PLUS_ENGINES) |
    when(TRTACT_FAMILY_SAME_CAPABILITY, TRTACT_TRT_SAME_CAPABILITY_ENGINES);

constexpr uint32_t tactic_sources =
    when(TRTACT_FAMILY_CUDA_LIBRARIES, TRTACT_TRT_CUBLAS | TRTACT_TRT_CUBLAS_LT | TRTACT_TRT_CUDNN) |
    when(TRTACT_FAMILY_EDGE_MASK_CONVOLUTIONS, TRTACT_TRT_EDGE_MASK_CONVOLUTIONS) |
    when(TRTACT_FAMILY_JIT_CONVOLUTIONS, TRTACT_TRT_JIT_CONVOLUTIONS);

// Throws Failure with the status INVALID.
[[noreturn]] void invalid(const std::string& text);

// Throws Failure with "text: what TensorRT said first", and the status for a GPU
// that is missing where that was it.
[[noreturn]] void failed(const std::string& text);

// Refuses what this family does not have.
void check(const trtact_trt_build_options&);

uint32_t network_flags();

// Every input with a dynamic size needs a profile; every profile needs an input.
void set_profiles(nvinfer1::IBuilder&, nvinfer1::INetworkDefinition&, nvinfer1::IBuilderConfig&,
                  const trtact_trt_build_options&);
void set_types(nvinfer1::INetworkDefinition&, nvinfer1::IBuilderConfig&, const trtact_trt_build_options&);
void set_limits(nvinfer1::IBuilderConfig&, const trtact_trt_build_options&);
// What the engine can be used for, once built.
void set_uses(nvinfer1::IBuilderConfig&, const trtact_trt_build_options&);

// The timing cache of one build, attached to the configuration, which must not
// outlive it. Without keep_timings there is none.
std::unique_ptr<nvinfer1::ITimingCache> attach_timings(nvinfer1::IBuilderConfig&,
                                                       const trtact_trt_build_options&);

} // namespace trtact
