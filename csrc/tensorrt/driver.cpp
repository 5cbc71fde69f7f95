#include "driver.h"

#include <dlfcn.h>

#include <algorithm>

#include "failure.h"

namespace trtact::cuda {
namespace {

constexpr int no_device_codes[] = {CUDA_NOT_INITIALIZED,  CUDA_STUB_LIBRARY,    CUDA_NO_DEVICE,
                                   CUDA_SYSTEM_NOT_READY, CUDA_DRIVER_MISMATCH, CUDA_NOT_COMPATIBLE};

[[noreturn]] void no_device(const std::string& why) {
  throw Failure(TRTACT_TRT_NO_DEVICE, "running an engine needs an NVIDIA GPU and driver, which are not found on this machine (" + why + ")");
}

template <typename Function>
void load(void* library, const char* symbol, Function& out) {
  out = reinterpret_cast<Function>(dlsym(library, symbol));
  if (out == nullptr) no_device(std::string("the driver is too old: it has no ") + symbol);
}

#define TRTACT_LOAD(member, symbol) load(library, #symbol, d.member);

Driver open() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    no_device(why != nullptr ? why : "no libcuda.so.1");
  }
  Driver d{};
  TRTACT_DRIVER(TRTACT_LOAD)
  d.check(d.init(0), "start CUDA");
  int count = 0;
  d.check(d.device_count(&count), "count the GPUs");
  if (count == 0) no_device("the driver has no GPU");
  return d;
}

} // namespace

void Driver::check(int code, const std::string& attempt) const {
  if (code == 0) return;
  const char* name = nullptr;
  const char* text = nullptr;
  error_name(code, &name);
  error_text(code, &text);
  const std::string why = (name != nullptr ? name : "CUDA error " + std::to_string(code)) +
                          (text != nullptr ? std::string(", ") + text : "");
  if (std::find(std::begin(no_device_codes), std::end(no_device_codes), code) != std::end(no_device_codes)) {
    no_device(why);
  }
  throw Failure(TRTACT_TRT_FAILED, attempt + ": " + why);
}

const Driver& driver() {
  static const Driver opened = open(); // tried again where it threw
  return opened;
}

Device::Device(int32_t ordinal) : driver_(driver()) {
  int count = 0;
  driver_.check(driver_.device_count(&count), "count the GPUs");
  if (ordinal < 0 || ordinal >= count) {
    throw Failure(TRTACT_TRT_INVALID, "there is no CUDA device " + std::to_string(ordinal) + ", they count from 0 to " +
                                          std::to_string(count - 1));
  }
  const std::string name = "CUDA device " + std::to_string(ordinal);
  driver_.check(driver_.device_get(&device_, ordinal), "get " + name);
  driver_.check(driver_.context_retain(&context_, device_), "use " + name);
  if (const int code = driver_.context_set(context_); code != 0) {
    driver_.context_release(device_);
    driver_.check(code, "use " + name);
  }
}

Device::~Device() {
  driver_.context_set(nullptr);
  driver_.context_release(device_);
}

void Device::enter() const { driver_.check(driver_.context_set(context_), "use the CUDA device"); }

size_t Device::free_memory() const {
  size_t free = 0, total = 0;
  driver_.check(driver_.memory_info(&free, &total), "ask for the device's memory");
  return free;
}

Buffer::Buffer(size_t bytes, const std::string& name) : driver_(driver()), bytes_(bytes) {
  const size_t room = std::max<size_t>(bytes, 1); // 0 bytes cannot be allocated
  const std::string what = std::to_string(bytes) + " bytes for tensor '" + name + "'";
  if (const int code = driver_.allocate(&device_, room); code != 0) {
    driver_.check(code, (code == CUDA_OUT_OF_MEMORY ? "out of device memory: allocate " : "allocate ") + what);
  }
  if (const int code = driver_.host_allocate(&host_, room, 0); code != 0) {
    driver_.free(device_);
    driver_.check(code, "allocate pinned host memory, " + what);
  }
}

Buffer::~Buffer() {
  driver_.host_free(host_);
  driver_.free(device_);
}

void Buffer::to_device(cudaStream_t stream) const {
  if (bytes_ > 0) driver_.check(driver_.copy_in(device_, host_, bytes_, stream), "copy an input to the device");
}

void Buffer::to_host(cudaStream_t stream) const {
  if (bytes_ > 0) driver_.check(driver_.copy_out(host_, device_, bytes_, stream), "copy an output from the device");
}

Stream::Stream() : driver_(driver()) {
  driver_.check(driver_.stream_create(&stream_, CUDA_STREAM_NON_BLOCKING), "create a CUDA stream");
}

Stream::~Stream() { driver_.stream_destroy(stream_); }

void Stream::wait() const { driver_.check(driver_.stream_wait(stream_), "run the engine"); }

Event::Event(bool blocking) : driver_(driver()), blocking_(blocking) {
  driver_.check(driver_.event_create(&event_, blocking ? CUDA_EVENT_BLOCKING : 0), "create a CUDA event");
}

Event::~Event() { driver_.event_destroy(event_); }

void Event::record(const Stream& stream) const {
  driver_.check(driver_.event_record(event_, stream.get()), "record a CUDA event");
}

void Event::wait() const {
  if (blocking_) {
    driver_.check(driver_.event_wait(event_), "run the engine");
    return;
  }
  int code = CUDA_NOT_READY;
  while (code == CUDA_NOT_READY) code = driver_.event_query(event_);
  driver_.check(code, "run the engine");
}

double Event::since(const Event& earlier) const {
  float milliseconds = 0;
  driver_.check(driver_.event_elapsed(&milliseconds, earlier.event_, event_), "read CUDA events");
  return milliseconds;
}

Capture::~Capture() {
  if (exec_ != nullptr) driver_.graph_exec_destroy(exec_);
  if (graph_ != nullptr) driver_.graph_destroy(graph_);
}

void Capture::begin(const Stream& stream) {
  driver_.check(driver_.capture_begin(stream.get(), CUDA_CAPTURE_THREAD), "capture a CUDA graph");
}

void Capture::end(const Stream& stream) {
  driver_.check(driver_.capture_end(stream.get(), &graph_), "capture a CUDA graph");
  driver_.check(driver_.graph_instantiate(&exec_, graph_, 0), "make a CUDA graph");
}

void Capture::launch(const Stream& stream) const {
  driver_.check(driver_.graph_launch(exec_, stream.get()), "launch a CUDA graph");
}

} // namespace trtact::cuda
