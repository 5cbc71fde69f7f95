// CUDA's driver, opened at run time: memory, streams, events, graphs. The driver
// API is used, and not the runtime library, because it comes with every driver and
// its functions keep their form; TensorRT's own use of CUDA shares its primary
// context. Of the declarations only what we call stands here, so that no CUDA
// toolkit is needed to compile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <cuda_runtime_api.h> // cudaStream_t, which is the driver's CUstream

namespace trtact::cuda {

using DevicePointer = unsigned long long;
struct Context;
struct Graph;
struct GraphExec;

// The driver's functions that are used; symbol names carry the version of the form.
struct Driver {
  int (*init)(unsigned flags);
  int (*device_count)(int* count);
  int (*device_get)(int* device, int ordinal);
  int (*context_retain)(Context**, int device);
  int (*context_release)(int device);
  int (*context_set)(Context*);
  int (*error_name)(int code, const char** name);
  int (*error_text)(int code, const char** text);
  int (*memory_info)(size_t* free, size_t* total);
  int (*allocate)(DevicePointer*, size_t bytes);
  int (*free)(DevicePointer);
  int (*host_allocate)(void**, size_t bytes, unsigned flags);
  int (*host_free)(void*);
  int (*copy_in)(DevicePointer to, const void* from, size_t bytes, cudaStream_t);
  int (*copy_out)(void* to, DevicePointer from, size_t bytes, cudaStream_t);
  int (*stream_create)(cudaStream_t*, unsigned flags);
  int (*stream_destroy)(cudaStream_t);
  int (*stream_wait)(cudaStream_t);
  int (*capture_begin)(cudaStream_t, int mode);
  int (*capture_end)(cudaStream_t, Graph**);
  int (*event_create)(cudaEvent_t*, unsigned flags);
  int (*event_destroy)(cudaEvent_t);
  int (*event_record)(cudaEvent_t, cudaStream_t);
  int (*event_query)(cudaEvent_t);
  int (*event_wait)(cudaEvent_t);
  int (*event_elapsed)(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
  int (*graph_instantiate)(GraphExec**, Graph*, unsigned long long flags);
  int (*graph_launch)(GraphExec*, cudaStream_t);
  int (*graph_destroy)(Graph*);
  int (*graph_exec_destroy)(GraphExec*);

  // Throws Failure, of NO_DEVICE when the code means so, saying what was
  // attempted and the driver's name and text for the code.
  void check(int code, const std::string& attempt) const;
};

// F(member, its name in the library) for every function of the table. The youngest is
// cuGraphInstantiateWithFlags, of CUDA 11.4.
#define TRTACT_DRIVER(F)                            \
  F(init, cuInit)                                   \
  F(error_name, cuGetErrorName)                     \
  F(error_text, cuGetErrorString)                   \
  F(device_count, cuDeviceGetCount)                 \
  F(device_get, cuDeviceGet)                        \
  F(context_retain, cuDevicePrimaryCtxRetain)       \
  F(context_release, cuDevicePrimaryCtxRelease_v2)  \
  F(context_set, cuCtxSetCurrent)                   \
  F(memory_info, cuMemGetInfo_v2)                   \
  F(allocate, cuMemAlloc_v2)                        \
  F(free, cuMemFree_v2)                             \
  F(host_allocate, cuMemHostAlloc)                  \
  F(host_free, cuMemFreeHost)                       \
  F(copy_in, cuMemcpyHtoDAsync_v2)                  \
  F(copy_out, cuMemcpyDtoHAsync_v2)                 \
  F(stream_create, cuStreamCreate)                  \
  F(stream_destroy, cuStreamDestroy_v2)             \
  F(stream_wait, cuStreamSynchronize)               \
  F(capture_begin, cuStreamBeginCapture_v2)         \
  F(capture_end, cuStreamEndCapture)                \
  F(event_create, cuEventCreate)                    \
  F(event_destroy, cuEventDestroy_v2)               \
  F(event_record, cuEventRecord)                    \
  F(event_query, cuEventQuery)                      \
  F(event_wait, cuEventSynchronize)                 \
  F(event_elapsed, cuEventElapsedTime)              \
  F(graph_instantiate, cuGraphInstantiateWithFlags) \
  F(graph_launch, cuGraphLaunch)                    \
  F(graph_destroy, cuGraphDestroy)                  \
  F(graph_exec_destroy, cuGraphExecDestroy)

enum { CUDA_OUT_OF_MEMORY = 2, CUDA_NOT_READY = 600 }; // event_query: not yet
// No driver that works, or no GPU.
enum {
  CUDA_NOT_INITIALIZED = 3,
  CUDA_STUB_LIBRARY = 34,
  CUDA_NO_DEVICE = 100,
  CUDA_SYSTEM_NOT_READY = 802,
  CUDA_DRIVER_MISMATCH = 803,
  CUDA_NOT_COMPATIBLE = 804
};
enum { CUDA_STREAM_NON_BLOCKING = 1 }; // not in step with the legacy stream
enum { CUDA_EVENT_BLOCKING = 1 };      // wait by sleeping
enum { CUDA_CAPTURE_THREAD = 1 };      // other threads may do as they like

// The driver, opened once. Throws Failure with NO_DEVICE where there is none
// or it has no GPU.
const Driver& driver();

// A device's primary context, held as long as this lives. It is current for the
// thread that made it; others call enter.
class Device {
 public:
  explicit Device(int32_t ordinal); // Failure with INVALID when there is none of that number
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void enter() const;
  size_t free_memory() const; // bytes

 private:
  const Driver& driver_;
  int device_ = 0;
  Context* context_ = nullptr;
};

// Memory of the same size on both sides. Host memory is pinned, so that copies run
// beside computation.
class Buffer {
 public:
  Buffer(size_t bytes, const std::string& name); // name: the tensor, for messages
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* host() const { return host_; }
  void* device() const { return reinterpret_cast<void*>(device_); }
  size_t bytes() const { return bytes_; }
  void to_device(cudaStream_t) const;
  void to_host(cudaStream_t) const;

 private:
  const Driver& driver_;
  size_t bytes_;
  void* host_ = nullptr;
  DevicePointer device_ = 0;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const;

 private:
  const Driver& driver_;
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  // Waiting for a blocking event sleeps; for others it asks all the time.
  explicit Event(bool blocking);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream&) const;
  void wait() const;
  // milliseconds from an event that was reached before
  double since(const Event& earlier) const;

 private:
  const Driver& driver_;
  bool blocking_;
  cudaEvent_t event_ = nullptr;
};

// A graph of what was enqueued between begin and end.
class Capture {
 public:
  Capture() : driver_(driver()) {}
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  void begin(const Stream&);
  void end(const Stream&); // throws when the work cannot be captured
  void launch(const Stream&) const;

 private:
  const Driver& driver_;
  Graph* graph_ = nullptr;
  GraphExec* exec_ = nullptr;
};

} // namespace trtact::cuda
