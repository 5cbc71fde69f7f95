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

#define TRTACT_LOAD(member, symbol) load(l, #symbol, t.member);

Nccl open_nccl() {
  void* l = open("libnccl.so.2", "install NCCL (package libnccl2 of NVIDIA's repository, or nvidia-nccl-cu12 of PyPI with its lib folder in LD_LIBRARY_PATH)");
  Nccl t{};
  TRTACT_NCCL(TRTACT_LOAD)
  return t;
}

Driver open_driver() {
  void* l = open("libcuda.so.1", "it comes with NVIDIA's driver");
  Driver t{};
  TRTACT_DRIVER(TRTACT_LOAD)
  t.check(t.init(0), "start CUDA");
  return t;
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
