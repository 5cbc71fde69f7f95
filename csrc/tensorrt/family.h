// Which TensorRT this shim is compiled against, in a few names that the other
// files test instead of version numbers. The differences between families that
// matter to us all stand here:
//
//   8.4 to 10  FP16 and INT8 are permissions given to TensorRT (weak types)
//   11         types are always the model's
//   RTX 1      the same, and builds for named GPUs without having one
#pragma once

#include <NvInfer.h>
#include <NvOnnxParser.h>

#if NV_TENSORRT_MAJOR < 8
#if !defined(TRT_MAJOR_RTX)
#error "TensorRT 8.4 or newer is needed"
#endif
#endif

#if defined(TRT_MAJOR_RTX)
#define TRTACT_FAMILY_RTX 1
#define TRTACT_FAMILY_WEAK_TYPES 0
// Both can be set, and change no byte of an engine built without a GPU.
#define TRTACT_FAMILY_OPTIMIZATION_LEVEL 0
#define TRTACT_FAMILY_SPARSE_WEIGHTS 0
#define TRTACT_FAMILY_NODE_NAMES 1
#define TRTACT_FAMILY_NAMED_TENSORS 1
#define TRTACT_FAMILY_REALLOCATE_ON_STREAM 1
#define TRTACT_FAMILY_TIMING_CACHE 0 // there, and does nothing
#define TRTACT_FAMILY_COMPATIBILITY 0 // an engine is for the GPUs it names
#define TRTACT_FAMILY_SAME_CAPABILITY 0
#define TRTACT_FAMILY_CUDA_LIBRARIES 0
#define TRTACT_FAMILY_EDGE_MASK_CONVOLUTIONS 0
#define TRTACT_FAMILY_JIT_CONVOLUTIONS 0
#else
#define TRTACT_FAMILY_RTX 0
#define TRTACT_FAMILY_WEAK_TYPES (NV_TENSORRT_MAJOR <= 10)
#define TRTACT_FAMILY_OPTIMIZATION_LEVEL (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 806)
#define TRTACT_FAMILY_NODE_NAMES (NV_TENSORRT_MAJOR >= 10) // IParserError::nodeName
// Inputs and outputs by name and enqueueV3; before, by number and enqueueV2.
#define TRTACT_FAMILY_NAMED_TENSORS (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 805)
#define TRTACT_FAMILY_REALLOCATE_ON_STREAM (NV_TENSORRT_MAJOR >= 10) // IOutputAllocator
#define TRTACT_FAMILY_SPARSE_WEIGHTS 1
#define TRTACT_FAMILY_TIMING_CACHE 1
// Engines for other versions and GPUs than those of the build.
#define TRTACT_FAMILY_COMPATIBILITY (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 806)
#define TRTACT_FAMILY_SAME_CAPABILITY (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 1009)
// Where kernels may come from.
#define TRTACT_FAMILY_CUDA_LIBRARIES (NV_TENSORRT_MAJOR <= 10) // cuBLAS, cuDNN
#define TRTACT_FAMILY_EDGE_MASK_CONVOLUTIONS 1
#define TRTACT_FAMILY_JIT_CONVOLUTIONS (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 805)
#endif

namespace trtact {

// Names of the library files, by soname: what the headers' major version needs.
#define TRTACT_TEXT_(x) #x
#define TRTACT_TEXT(x) TRTACT_TEXT_(x)
#if TRTACT_FAMILY_RTX
constexpr const char* family_name = "TensorRT for RTX";
constexpr const char* core_file = "libtensorrt_rtx.so." TRTACT_TEXT(NV_TENSORRT_MAJOR);
constexpr const char* parser_file = "libtensorrt_onnxparser_rtx.so." TRTACT_TEXT(NV_TENSORRT_MAJOR);
#else
constexpr const char* family_name = "TensorRT";
constexpr const char* core_file = "libnvinfer.so." TRTACT_TEXT(NV_TENSORRT_MAJOR);
constexpr const char* parser_file = "libnvonnxparser.so." TRTACT_TEXT(NV_TENSORRT_MAJOR);
#endif

} // namespace trtact
