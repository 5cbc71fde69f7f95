// The threads of one block, each with a stack of its own, taking turns at
// __syncthreads and at exchanges within a warp.
#pragma once

#include <functional>

#include "runtime.h"

namespace trtact::emulated {

// Runs kernel once for every thread of the block that blockIdx says, in falling
// order if reverse. nullptr, or what is wrong with the kernel.
const char* run_block(const std::function<void()>& kernel, bool reverse);

}  // namespace trtact::emulated
