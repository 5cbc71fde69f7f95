#include "library.h"

#include <dlfcn.h>
#include <unistd.h>

#include "driver.h"
#include "failure.h"
#include "log.h"

namespace trtact {
namespace {

constexpr Version header_version{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH};

// getInferLibVersion packs major, minor, patch as 8403 until TensorRT 8 and as
// 100600 from then on; RTX counts as the newer do.
Version unpack(int32_t packed) {
  const int32_t unit = packed >= 10000 ? 10000 : 1000;
  return {packed / unit, packed % unit / 100, packed % 100};
}

std::string loader_error() {
  const char* text = dlerror(); // NULL when it has been asked before
  return text != nullptr ? text : "unknown error of the dynamic loader";
}

template <typename Function>
std::string find(void* library, const char* symbol, Function& out) {
  out = reinterpret_cast<Function>(dlsym(library, symbol));
  return out != nullptr ? "" : loader_error();
}

// The file that a symbol came from.
std::string file_of(void* symbol, const std::string& otherwise) {
  Dl_info info{};
  if (dladdr(symbol, &info) != 0 && info.dli_fname != nullptr) return info.dli_fname;
  return otherwise;
}

[[noreturn]] void no_device(const std::string& why) {
  throw Failure(TRTACT_TRT_NO_DEVICE, std::string(family_name) +
                                          " needs an NVIDIA GPU and driver, which it does not find "
                                          "on this machine" +
                                          (why.empty() ? "" : " (" + why + ")"));
}

template <typename Object>
std::unique_ptr<Object> made(void* object, const char* what) {
  if (object != nullptr) return std::unique_ptr<Object>(static_cast<Object*>(object));
  Log& log = Log::instance();
  const std::string why = log.first_error();
  if (log.blamed_cuda() || why.empty()) no_device(why);
  throw Failure(TRTACT_TRT_FAILED, std::string(family_name) + " gives no " + what + ": " + why);
}

} // namespace

// TensorRT proper does not always answer a missing driver with an error: 10.6
// ends the process. So the driver is asked first, by its C functions.
void require_gpu() {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) no_device(loader_error());
  decltype(cuda::Driver::init) init = nullptr;
  decltype(cuda::Driver::device_count) count = nullptr;
  std::string why = find(driver, "cuInit", init);
  if (why.empty()) why = find(driver, "cuDeviceGetCount", count);
  if (!why.empty()) no_device(why);
  int devices = 0;
  if (const int code = init(0); code != 0) no_device("cuInit gives error " + std::to_string(code));
  if (const int code = count(&devices); code != 0 || devices == 0) no_device("the driver has no GPU");
}

std::string Version::text() const {
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

Library::Library(const std::vector<std::string>& folders, bool loader) {
  std::string tried;
  for (const std::string& folder : folders) {
    // A relative folder would load code from wherever the program stands.
    const std::string why = folder.empty() || folder[0] != '/' ? "not an absolute path" : open(folder + "/");
    if (why.empty()) return;
    tried += (tried.empty() ? "" : "; ") + folder + ": " + why;
  }
  if (loader) {
    const std::string why = open("");
    if (why.empty()) return;
    tried += (tried.empty() ? "" : "; ") + ("dynamic loader: " + why);
  }
  throw Failure(TRTACT_TRT_NO_LIBRARY, std::string(core_file) + " not usable: " +
                                           (tried.empty() ? "no folder to look in" : tried));
}

std::string Library::open(const std::string& folder) {
  if (!folder.empty() && access((folder + core_file).c_str(), R_OK) != 0) {
    return std::string("no ") + core_file;
  }
  // Global, so that the parser and TensorRT's own parts bind to this copy. Not
  // closed again, not even on failure: TensorRT does not survive unloading.
  void* core = dlopen((folder + core_file).c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (core == nullptr) return loader_error();
  int32_t (*get_version)() = nullptr;
  std::string why = find(core, "getInferLibVersion", get_version);
  if (why.empty()) why = find(core, "createInferBuilder_INTERNAL", create_builder_);
  if (why.empty()) why = find(core, "createInferRuntime_INTERNAL", create_runtime_);
  if (!why.empty()) return why;

  const Version found = unpack(get_version());
  if (found.major != header_version.major || found.minor < header_version.minor) {
    return "it is version " + found.text() + ", this program was built for " +
           std::to_string(header_version.major) + "." + std::to_string(header_version.minor) +
           " or a newer " + std::to_string(header_version.major) + ".x";
  }
  void* parser = dlopen((folder + parser_file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (parser == nullptr) return loader_error();
  why = find(parser, "createNvOnnxParser_INTERNAL", create_parser_);
  if (!why.empty()) return why;

  version_ = found;
  path_ = file_of(reinterpret_cast<void*>(get_version), folder + core_file);
  return "";
}

std::unique_ptr<nvinfer1::IBuilder> Library::builder() const {
#if !TRTACT_FAMILY_RTX
  require_gpu();
#endif
  return made<nvinfer1::IBuilder>(create_builder_(&Log::instance(), NV_TENSORRT_VERSION), "builder");
}

std::unique_ptr<nvinfer1::IRuntime> Library::runtime() const {
#if !TRTACT_FAMILY_RTX
  require_gpu();
#endif
  auto runtime = made<nvinfer1::IRuntime>(create_runtime_(&Log::instance(), NV_TENSORRT_VERSION), "runtime");
#if TRTACT_FAMILY_COMPATIBILITY
  // A version-compatible engine brings a runtime of its own along. What is not
  // vouched for by its sidecar, or by the user, does not come this far.
  runtime->setEngineHostCodeAllowed(true);
#endif
  return runtime;
}

std::unique_ptr<nvonnxparser::IParser> Library::parser(nvinfer1::INetworkDefinition& network) const {
  return made<nvonnxparser::IParser>(
      create_parser_(&network, &Log::instance(), NV_ONNX_PARSER_VERSION), "ONNX parser");
}

} // namespace trtact
