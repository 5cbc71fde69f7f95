// collective/nvidia.h beside nccl.h and cuda.h.
#define __CUDA_API_VERSION_INTERNAL // every function by its symbol, none renamed by a macro
#include <cuda.h>
#include <nccl.h>

#include "collective/nvidia.h"
#include "same.h"

COUNTERPART(trtact::collective::Comm, ncclComm)
COUNTERPART(trtact_collective_id, ncclUniqueId)
COUNTERPART(trtact::collective::Stream, CUstream_st)
COUNTERPART(trtact::collective::Context, CUctx_st)

namespace trtact::collective {

#define NCCL(member, symbol) SAME(Nccl, member, symbol)
TRTACT_NCCL(NCCL)
COMPLETE(Nccl, TRTACT_NCCL, 0)

// Passed by value.
static_assert(sizeof(trtact_collective_id) == sizeof(ncclUniqueId) && alignof(trtact_collective_id) == alignof(ncclUniqueId));
static_assert(sizeof(trtact_collective_id::bytes) == NCCL_UNIQUE_ID_BYTES);

NUMBER(NCCL_SUCCESS, ncclSuccess)
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 14, 0) // older ones never answer so
NUMBER(NCCL_IN_PROGRESS, ncclInProgress)
#endif
NUMBER(NCCL_UINT8, ncclUint8)
NUMBER(NCCL_FLOAT32, ncclFloat32)
NUMBER(NCCL_FLOAT64, ncclFloat64)
NUMBER(NCCL_SUM, ncclSum)
NUMBER(NCCL_MAX, ncclMax)

#define DRIVER(member, symbol) SAME(Driver, member, symbol)
TRTACT_DRIVER(DRIVER)
COMPLETE(Driver, TRTACT_DRIVER, 0)

static_assert(CUDA_SUCCESS == 0);
NUMBER(CUDA_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING)
NUMBER(CUDA_NOT_READY, CUDA_ERROR_NOT_READY)

}  // namespace trtact::collective
