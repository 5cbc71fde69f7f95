// CUDA's language and runtime: NVIDIA's, or the emulation on which tests run the
// same sources without a GPU (emulated/runtime.h).
#pragma once

#if defined(TRTACT_CUDA_EMULATED)
#include "emulated/runtime.h"
#else
#include <cuda_runtime.h>
#endif
