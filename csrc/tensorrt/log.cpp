#include "log.h"

#include <cerrno>
#include <cstring>

#include "failure.h"

namespace trtact {

Log& Log::instance() {
  static Log* const log = new Log;
  return *log;
}

void Log::log(Severity severity, const char* message) noexcept {
  static const char* const names[] = {"internal error", "error", "warning", "info", "verbose"};
  const auto level = static_cast<int32_t>(severity);
  if (level < 0 || level > 4 || message == nullptr) return;
  try {
    std::lock_guard<std::mutex> lock(mutex_);
    if (level <= TRTACT_TRT_LOG_ERROR) {
      // Later errors may be about anything: without a driver, every error of
      // TensorRT for RTX has one about CUDA in its wake.
      if (first_error_.empty()) {
        first_error_ = message;
        blamed_cuda_ = std::strstr(message, "CUDA") != nullptr || std::strstr(message, "Cuda") != nullptr;
      }
    }
    if (file_ != nullptr && level <= level_) {
      // Unbuffered by flushing: a crash must not take the last lines with it.
      std::fprintf(file_, "[%s] %s\n", names[level], message);
      std::fflush(file_);
    }
  } catch (...) { // out of memory: a message is lost
  }
}

Log::Scope::Scope(const char* path, int32_t level) : turn_(instance().turn_) {
  Log& log = instance();
  std::FILE* file = nullptr;
  if (path != nullptr && *path != 0) {
    file = std::fopen(path, "ae");
    if (file == nullptr) {
      throw Failure(TRTACT_TRT_INVALID,
                    std::string("open log ") + path + ": " + std::strerror(errno));
    }
  }
  std::lock_guard<std::mutex> lock(log.mutex_);
  log.file_ = file;
  log.level_ = level;
  log.first_error_.clear();
  log.blamed_cuda_ = false;
}

Log::Scope::~Scope() {
  Log& log = instance();
  std::lock_guard<std::mutex> lock(log.mutex_);
  if (log.file_ != nullptr) std::fclose(log.file_);
  log.file_ = nullptr;
}

std::string Log::first_error() {
  std::lock_guard<std::mutex> lock(mutex_);
  return first_error_;
}

bool Log::blamed_cuda() {
  std::lock_guard<std::mutex> lock(mutex_);
  return blamed_cuda_;
}

} // namespace trtact
