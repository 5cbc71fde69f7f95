// A TensorRT of our own for tests, with as much of the interface as running an
// engine takes: its one engine doubles its input. What is compiled against this
// runs without TensorRT and without a GPU. FAKE_TENSORRT_MINOR 4 gives the
// interface of 8.4 with numbered bindings, 6 the one with named tensors.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

#define NV_TENSORRT_MAJOR 8
#define NV_TENSORRT_MINOR FAKE_TENSORRT_MINOR
#define NV_TENSORRT_PATCH 0

namespace nvinfer1 {

struct Dims {
  static constexpr int32_t MAX_DIMS = 8;
  int32_t nbDims;
  int32_t d[MAX_DIMS];
};
enum class DataType : int32_t { kFLOAT = 0, kINT32 = 3 };
enum class TensorFormat : int32_t { kLINEAR = 0 };
enum class TensorIOMode : int32_t { kNONE, kINPUT, kOUTPUT };
enum class OptProfileSelector : int32_t { kMIN, kOPT, kMAX };
enum class LayerInformationFormat : int32_t { kONELINE, kJSON };

struct ILogger {
  enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
  virtual void log(Severity, const char*) noexcept = 0;
  virtual ~ILogger() = default;
};
struct IProfiler {
  virtual void reportLayerTime(const char* name, float milliseconds) noexcept = 0;
  virtual ~IProfiler() = default;
};
struct IOutputAllocator {
  virtual void* reallocateOutput(const char* name, void* memory, uint64_t size, uint64_t alignment) noexcept = 0;
  virtual void notifyShape(const char* name, const Dims&) noexcept = 0;
  virtual ~IOutputAllocator() = default;
};
struct IEngineInspector {
  const char* getEngineInformation(LayerInformationFormat) { return "{\"Layers\": [\"double\"]}"; }
};
struct IBuilder {};
struct INetworkDefinition {};

class IExecutionContext {
 public:
  IExecutionContext();
  ~IExecutionContext();
  int32_t getOptimizationProfile() const { return profile_; }
  bool setOptimizationProfileAsync(int32_t profile, cudaStream_t);
  void setProfiler(IProfiler* profiler) { profiler_ = profiler; }
  void setEnqueueEmitsProfile(bool) {}
  bool reportToProfiler() const;

  // named
  bool setInputShape(const char* name, const Dims&);
  Dims getTensorShape(const char* name) const;
  int64_t getMaxOutputSize(const char* name) const;
  bool setTensorAddress(const char* name, void*);
  bool setOutputAllocator(const char* name, IOutputAllocator*);
  bool enqueueV3(cudaStream_t);
  // numbered
  bool setBindingDimensions(int32_t, const Dims&);
  Dims getBindingDimensions(int32_t) const;
  bool enqueueV2(void* const* bindings, cudaStream_t, cudaEvent_t*);

 private:
  int32_t profile_ = 0, rows_ = -1;
  IProfiler* profiler_ = nullptr;
  IOutputAllocator* outlet_ = nullptr;
  void* memory_[3] = {};
};

class ICudaEngine {
 public:
  int32_t getNbOptimizationProfiles() const { return 1; }
  IExecutionContext* createExecutionContext() { return new IExecutionContext; }
  IEngineInspector* createEngineInspector() const { return new IEngineInspector; }

  // named
  int32_t getNbIOTensors() const;
  const char* getIOTensorName(int32_t) const;
  TensorIOMode getTensorIOMode(const char* name) const;
  DataType getTensorDataType(const char* name) const;
  Dims getTensorShape(const char* name) const;
  TensorFormat getTensorFormat(const char*) const { return TensorFormat::kLINEAR; }
  bool isShapeInferenceIO(const char*) const { return false; }
  Dims getProfileShape(const char* name, int32_t profile, OptProfileSelector) const;
  // numbered
  bool hasImplicitBatchDimension() const { return false; }
  int32_t getNbBindings() const { return 2; }
  const char* getBindingName(int32_t i) const { return getIOTensorName(i); }
  bool bindingIsInput(int32_t i) const { return i == 1; }
  DataType getBindingDataType(int32_t) const { return DataType::kFLOAT; }
  Dims getBindingDimensions(int32_t i) const { return getTensorShape(getIOTensorName(i)); }
  TensorFormat getBindingFormat(int32_t) const { return TensorFormat::kLINEAR; }
  bool isShapeBinding(int32_t) const { return false; }
  Dims getProfileDimensions(int32_t i, int32_t profile, OptProfileSelector which) const {
    return getProfileShape(getIOTensorName(i), profile, which);
  }
};

class IRuntime {
 public:
  ICudaEngine* deserializeCudaEngine(const void* data, size_t bytes);
};

} // namespace nvinfer1
