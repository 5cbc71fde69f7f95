#include "nvidia.h"

#include <dlfcn.h>

#include <stdexcept>

namespace trtact::collective {
namespace {

void* open(const char* name, const char* get) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw std::runtime_error(std::string(why != nullptr ? why : name) + "; " + get);
  }
  return library;
}

template <class F>
void load(void* library, const char* symbol, F& f) {
  f = reinterpret_cast<F>(dlsym(library, symbol));
  if (f == nullptr) throw std::runtime_error(std::string("it is too old: it has no ") + symbol);
}

Nccl open_nccl() {
  void* l = open("libnccl.so.2", "install NCCL (package libnccl2 of NVIDIA's repository, or nvidia-nccl-cu12 of PyPI with its lib folder in LD_LIBRARY_PATH)");
  Nccl n{};
  load(l, "ncclGetVersion", n.version);
  load(l, "ncclGetUniqueId", n.unique_id);
  load(l, "ncclCommInitRank", n.init_rank);
  load(l, "ncclCommDestroy", n.destroy);
  load(l, "ncclCommAbort", n.abort);
  load(l, "ncclCommGetAsyncError", n.async_error);
  load(l, "ncclGetErrorString", n.error_string);
  load(l, "ncclAllReduce", n.all_reduce);
  load(l, "ncclBroadcast", n.broadcast);
  return n;
}

Driver open_driver() {
  void* l = open("libcuda.so.1", "it comes with NVIDIA's driver");
  Driver d{};
  load(l, "cuInit", d.init);
  load(l, "cuGetErrorName", d.error_name);
  load(l, "cuDeviceGet", d.device_get);
  load(l, "cuDevicePrimaryCtxRetain", d.context_retain);
  load(l, "cuDevicePrimaryCtxRelease_v2", d.context_release);
  load(l, "cuCtxSetCurrent", d.context_set);
  load(l, "cuMemAlloc_v2", d.allocate);
  load(l, "cuMemFree_v2", d.free);
  load(l, "cuMemcpyHtoDAsync_v2", d.copy_in);
  load(l, "cuMemcpyDtoHAsync_v2", d.copy_out);
  load(l, "cuStreamCreate", d.stream_create);
  load(l, "cuStreamDestroy_v2", d.stream_destroy);
  load(l, "cuStreamQuery", d.stream_query);
  d.check(d.init(0), "start CUDA");
  return d;
}

}  // namespace

const Nccl& nccl() {
  static const Nccl opened = open_nccl(); // tried again where it threw
  return opened;
}

const Driver& driver() {
  static const Driver opened = open_driver();
  return opened;
}

void Nccl::check(int code, const char* attempt) const {
  if (code != NCCL_SUCCESS) throw std::runtime_error(std::string("NCCL: ") + attempt + ": " + error_string(code));
}

void Driver::check(int code, const char* attempt) const {
  if (code == 0) return;
  const char* name = nullptr;
  error_name(code, &name);
  throw std::runtime_error(std::string(attempt) + ": " + (name != nullptr ? name : "CUDA error " + std::to_string(code)));
}

}  // namespace trtact::collective
