// The TensorRT of include/NvInfer.h. Its engine has the output "y" (rows x 4), the
// input "x" (rows x 4, 1 to 8 rows, best at 2), and where tensors have names the
// output "n": as many ones as x has values above 0. A run takes 2 ms.
#include <NvInfer.h>

#include <cstring>
#include <deque>
#include <mutex>
#include <string>

#include "../failure.h"
#include "../library.h"
#include "../log.h"
#include "fake.h"

namespace nvinfer1 {
namespace {

int32_t number(const char* name) { return name[0] == 'y' ? 0 : name[0] == 'x' ? 1 : 2; }
Dims rows_of_four(int32_t rows) { return {2, {rows, 4}}; }

struct Run {
  int32_t rows;
  float* y;
  const float* x;
  int32_t* n;
  IOutputAllocator* outlet;
};

void compute(void* argument) {
  const Run* run = static_cast<Run*>(argument);
  int32_t above = 0;
  for (int32_t i = 0; i < run->rows * 4; ++i) {
    run->y[i] = 2 * run->x[i];
    above += run->x[i] > 0;
  }
  if (run->outlet == nullptr) return;
  auto* n = static_cast<int32_t*>(run->outlet->reallocateOutput("n", run->n, static_cast<uint64_t>(above) * 4, 256));
  for (int32_t i = 0; n != nullptr && i < above; ++i) n[i] = 1;
  run->outlet->notifyShape("n", {1, {above}});
}

bool start(Run run, cudaStream_t stream) {
  if (fake::enqueued++ == fake::fail_at) {
    trtact::Log::instance().log(ILogger::Severity::kERROR, "the fake has had enough");
    return false;
  }
  if (fake::symbol<bool(cudaStream_t)>("fake_capturing")(stream) && !fake::capturable) {
    trtact::Log::instance().log(ILogger::Severity::kERROR, "the fake cannot be captured");
    return false;
  }
  // Kept to the end: a captured graph may want it later.
  static std::mutex mutex;
  static std::deque<Run> runs;
  Run* kept = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex);
    kept = &runs.emplace_back(run);
  }
  fake::symbol<void(cudaStream_t, void (*)(void*), void*, double)>("fake_work")(stream, compute, kept, 2);
  return true;
}

} // namespace

IExecutionContext::IExecutionContext() { ++fake::contexts; }
IExecutionContext::~IExecutionContext() { --fake::contexts; }
bool IExecutionContext::setOptimizationProfileAsync(int32_t profile, cudaStream_t) { return profile == 0; }

bool IExecutionContext::reportToProfiler() const {
  profiler_->reportLayerTime("read", 0.5f);
  profiler_->reportLayerTime("double", 1.0f);
  profiler_->reportLayerTime("double", 0.25f); // a name may occur twice
  return true;
}

bool IExecutionContext::setInputShape(const char* name, const Dims& dims) {
  rows_ = dims.d[0];
  return number(name) == 1;
}
Dims IExecutionContext::getTensorShape(const char* name) const {
  return number(name) == 2 ? Dims{1, {-1}} : rows_of_four(rows_);
}
int64_t IExecutionContext::getMaxOutputSize(const char*) const { return rows_ * 4 * 4; }
bool IExecutionContext::setTensorAddress(const char* name, void* p) {
  memory_[number(name)] = p;
  return true;
}
bool IExecutionContext::setOutputAllocator(const char*, IOutputAllocator* outlet) {
  outlet_ = outlet;
  return true;
}
bool IExecutionContext::enqueueV3(cudaStream_t stream) {
  return start({rows_, static_cast<float*>(memory_[0]), static_cast<float*>(memory_[1]), static_cast<int32_t*>(memory_[2]), outlet_}, stream);
}

bool IExecutionContext::setBindingDimensions(int32_t i, const Dims& dims) {
  rows_ = dims.d[0];
  return i == 1;
}
Dims IExecutionContext::getBindingDimensions(int32_t) const { return rows_of_four(rows_); }
bool IExecutionContext::enqueueV2(void* const* bindings, cudaStream_t stream, cudaEvent_t*) {
  return start({rows_, static_cast<float*>(bindings[0]), static_cast<float*>(bindings[1]), nullptr, nullptr}, stream);
}

int32_t ICudaEngine::getNbIOTensors() const { return 3; }
const char* ICudaEngine::getIOTensorName(int32_t i) const {
  static const char* const names[] = {"y", "x", "n"};
  return names[i];
}
TensorIOMode ICudaEngine::getTensorIOMode(const char* name) const {
  return number(name) == 1 ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
}
DataType ICudaEngine::getTensorDataType(const char* name) const {
  return number(name) == 2 ? DataType::kINT32 : DataType::kFLOAT;
}
Dims ICudaEngine::getTensorShape(const char* name) const { return number(name) == 2 ? Dims{1, {-1}} : rows_of_four(-1); }
Dims ICudaEngine::getProfileShape(const char*, int32_t, OptProfileSelector which) const {
  const int32_t rows[] = {1, 2, 8};
  return rows_of_four(rows[static_cast<int>(which)]);
}

ICudaEngine* IRuntime::deserializeCudaEngine(const void* data, size_t bytes) {
  if (std::string(static_cast<const char*>(data), bytes) == "engine") return new ICudaEngine;
  trtact::Log::instance().log(ILogger::Severity::kERROR, "the fake knows one engine only");
  return nullptr;
}

} // namespace nvinfer1

namespace trtact {
std::string Version::text() const { return "8.0.0"; }
Library::Library(const std::vector<std::string>&, bool) {}
std::unique_ptr<nvinfer1::IRuntime> Library::runtime() const { return std::make_unique<nvinfer1::IRuntime>(); }
} // namespace trtact
