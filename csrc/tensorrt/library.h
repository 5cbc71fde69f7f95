// TensorRT's two libraries, opened at run time: the core and the ONNX parser.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "family.h"

namespace trtact {

struct Version {
  int32_t major, minor, patch;
  std::string text() const;
};

// Throws Failure with the status NO_DEVICE where there is no driver with a GPU.
void require_gpu();

class Library {
 public:
  // Tries the folders, then the dynamic loader. Throws Failure with what was
  // tried and why each did not do.
  Library(const std::vector<std::string>& folders, bool loader);

  const Version& version() const { return version_; }
  const std::string& path() const { return path_; }

  // Each throws when TensorRT gives none; without a GPU or driver, with the
  // status NO_DEVICE. Log::Scope must be open.
  std::unique_ptr<nvinfer1::IBuilder> builder() const;
  std::unique_ptr<nvinfer1::IRuntime> runtime() const;
  std::unique_ptr<nvonnxparser::IParser> parser(nvinfer1::INetworkDefinition&) const;

 private:
  std::string open(const std::string& folder); // "" or why not

  std::string path_;
  Version version_{};
  void* (*create_builder_)(void* logger, int32_t version) = nullptr;
  void* (*create_runtime_)(void* logger, int32_t version) = nullptr;
  void* (*create_parser_)(void* network, void* logger, int version) = nullptr;
};

} // namespace trtact
