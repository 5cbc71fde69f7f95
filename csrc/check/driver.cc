// tensorrt/driver.h, and the two types declared for TensorRT's headers, beside cuda.h and
// cuda_runtime_api.h.
#define __CUDA_API_VERSION_INTERNAL // every function by its symbol, none renamed by a macro
#include <cuda.h>
#include <cuda_runtime_api.h>

#include "same.h"
#include "tensorrt/cuda/cuda_runtime_api.h" // other than theirs it would not compile
#include "tensorrt/driver.h"

COUNTERPART(trtact::cuda::Context, CUctx_st)
COUNTERPART(trtact::cuda::Graph, CUgraph_st)
COUNTERPART(trtact::cuda::GraphExec, CUgraphExec_st)

namespace trtact::cuda {

#define DRIVER(member, symbol) SAME(Driver, member, symbol)
TRTACT_DRIVER(DRIVER)
COMPLETE(Driver, TRTACT_DRIVER, 0)

static_assert(CUDA_SUCCESS == 0);
NUMBER(CUDA_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY)
NUMBER(CUDA_NOT_READY, CUDA_ERROR_NOT_READY)
NUMBER(CUDA_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED)
NUMBER(CUDA_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY)
NUMBER(CUDA_NO_DEVICE, CUDA_ERROR_NO_DEVICE)
NUMBER(CUDA_SYSTEM_NOT_READY, CUDA_ERROR_SYSTEM_NOT_READY)
NUMBER(CUDA_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
NUMBER(CUDA_NOT_COMPATIBLE, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)
NUMBER(CUDA_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING)
NUMBER(CUDA_EVENT_BLOCKING, CU_EVENT_BLOCKING_SYNC)
NUMBER(CUDA_CAPTURE_THREAD, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)

}  // namespace trtact::cuda
