#include "device.h"

#include "trtact/compute.h"

namespace trtact::cuda {
namespace {

std::string mib(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

std::string release(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

// Why there is no device, for a person.
[[noreturn]] void no_device(cudaError_t e) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  cudaGetLastError();
  if (e == cudaErrorInsufficientDriver && driver == 0) fail("there is no NVIDIA driver on this machine");
  if (e == cudaErrorInsufficientDriver)
    fail("the NVIDIA driver runs CUDA " + release(driver) + ", this backend was built with CUDA " + release(runtime) +
         ": update the driver");
  if (e == cudaErrorNoDevice) fail("the NVIDIA driver sees no GPU");
  fail(std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(e));
}

}  // namespace

void* allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t e = cudaMalloc(&p, bytes ? bytes : 1);
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail("out of device memory: " + mib(bytes) + " needed, " + mib(free) + " of " + mib(total) + " free");
  }
  TRTACT_CUDA(e);
  return p;
}

Memory::Memory(size_t bytes) : p_(allocate(bytes)) {}

Memory::Memory(const void* host, size_t bytes) : p_(allocate(bytes)) {
  const Lane lane;
  TRTACT_CUDA(cudaMemcpyAsync(p_, host, bytes, cudaMemcpyHostToDevice, lane.stream));
  TRTACT_CUDA(cudaStreamSynchronize(lane.stream));
}

Memory::~Memory() {
  if (p_) cudaFree(p_);
}

Lane::Lane() { TRTACT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)); }

Lane::~Lane() {
  const std::lock_guard lock(making());
  if (dnn_) cudnn().destroy(dnn_);
  if (blas_) cublas().destroy(blas_);
  cudaStreamDestroy(stream);
}

cudnnHandle_t Lane::dnn() {
  if (!dnn_) {
    const std::lock_guard lock(making());
    check_dnn(cudnn().create(&dnn_), "cudnnCreate");
    check_dnn(cudnn().set_stream(dnn_, stream), "cudnnSetStream");
  }
  return dnn_;
}

cublasHandle_t Lane::blas() {
  if (!blas_) {
    const std::lock_guard lock(making());
    check_blas(cublas().create(&blas_), "cublasCreate");
    check_blas(cublas().set_stream(blas_, stream), "cublasSetStream");
  }
  return blas_;
}

void* Lane::scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    scratch_ = Memory();
    scratch_ = Memory(bytes);
    scratch_bytes_ = bytes;
  }
  return scratch_.get<void>();
}

Copies::Copies() {
  TRTACT_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  TRTACT_CUDA(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming));
}

Copies::~Copies() {
  cudaEventDestroy(done_);
  cudaStreamDestroy(stream_);
}

void Copies::add(void* to, const void* from, size_t bytes) {
  TRTACT_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
  TRTACT_CUDA(cudaEventRecord(done_, stream_));
}

Device::Device(int index) : index_(index) {
  int count = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&count)) no_device(e);
  if (count == 0) no_device(cudaErrorNoDevice);
  if (index < 0 || index >= count)
    fail("there is no GPU number " + std::to_string(index) + ": the driver sees " + std::to_string(count));
  enter();
  cudaDeviceProp p;
  TRTACT_CUDA(cudaGetDeviceProperties(&p, index));
  capability_ = p.major * 10 + p.minor;
  name_ = std::string(p.name) + ", sm_" + std::to_string(capability_);
  if (capability_ < 75) fail(name_ + " is older than sm_75, the oldest that this backend has kernels for");
  cudnn();
  cublas();
  free_.push_back(std::make_unique<Lane>());
  copies_.emplace();
}

void Device::require_math(int32_t math) const {
  if (math < TRTACT_MATH_FP32 || math > TRTACT_MATH_BF16) fail("no precision of products has number " + std::to_string(math));
  if (math != TRTACT_MATH_FP32 && !has_tf32())
    fail(name_ + " multiplies no TF32 and no BF16, which sm_80 (A100, RTX 30) and newer do: fp32 is its precision");
}

std::unique_ptr<Lane> Device::take() {
  std::unique_ptr<Lane> lane;
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      lane = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!lane) lane = std::make_unique<Lane>();
  copies_->hold(lane->stream);
  return lane;
}

void Device::give(std::unique_ptr<Lane> lane) {
  std::lock_guard lock(mutex_);
  free_.push_back(std::move(lane));
}

}  // namespace trtact::cuda
