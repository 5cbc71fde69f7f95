// What the handles of trtact/tensorrt.h are that more than one file needs, and
// the count of those alive.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "library.h"
#include "trtact/tensorrt.h"

namespace trtact {

inline std::atomic<int64_t> live_handles{0};

struct Counted {
  Counted() { ++live_handles; }
  ~Counted() { --live_handles; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
};

// The half of the table that runs engines.
extern const trtact_trt_runtime_api runtime_table;

} // namespace trtact

struct trtact_trt_library : private trtact::Counted {
  trtact_trt_library(const std::vector<std::string>& folders, bool loader)
      : opened(folders, loader) {}
  trtact::Library opened;
};
