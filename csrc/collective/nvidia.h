// What is called of NCCL and of CUDA's driver: both are opened when a group is joined,
// and their functions reached through these tables, so that nothing of NVIDIA's is
// needed to build or to start. The declarations follow NVIDIA's documentation of NCCL 2
// and of the driver; their numbers are part of the binary interface. `make check-cuda`
// compares all with NVIDIA's own headers.
#pragma once

#include <cstddef>
#include <string>

#include "trtact/collective.h"

namespace trtact::collective {

struct Comm; // of NCCL
struct Stream;
struct Context;
using DevicePointer = unsigned long long;

enum { NCCL_SUCCESS = 0, NCCL_IN_PROGRESS = 7 };
enum { NCCL_UINT8 = 1, NCCL_FLOAT32 = 7, NCCL_FLOAT64 = 8 };
enum { NCCL_SUM = 0, NCCL_MAX = 2 };

struct Nccl {
  int (*version)(int*);
  int (*unique_id)(trtact_collective_id*);
  int (*init_rank)(Comm**, int size, trtact_collective_id, int rank);
  int (*destroy)(Comm*);
  int (*abort)(Comm*);
  int (*async_error)(Comm*, int*);
  const char* (*error_string)(int);
  int (*all_reduce)(const void* from, void* to, size_t count, int type, int op, Comm*, Stream*);
  int (*broadcast)(const void* from, void* to, size_t count, int type, int root, Comm*, Stream*);

  void check(int code, const char* attempt) const; // throws
};

// F(member, its name in the library) for every function of the table.
#define TRTACT_NCCL(F)                  \
  F(version, ncclGetVersion)            \
  F(unique_id, ncclGetUniqueId)         \
  F(init_rank, ncclCommInitRank)        \
  F(destroy, ncclCommDestroy)           \
  F(abort, ncclCommAbort)               \
  F(async_error, ncclCommGetAsyncError) \
  F(error_string, ncclGetErrorString)   \
  F(all_reduce, ncclAllReduce)          \
  F(broadcast, ncclBroadcast)

enum { CUDA_STREAM_NON_BLOCKING = 1, CUDA_NOT_READY = 600 };

struct Driver {
  int (*init)(unsigned);
  int (*error_name)(int, const char**);
  int (*device_get)(int*, int ordinal);
  int (*context_retain)(Context**, int device);
  int (*context_release)(int device);
  int (*context_set)(Context*);
  int (*allocate)(DevicePointer*, size_t);
  int (*free)(DevicePointer);
  int (*copy_in)(DevicePointer, const void*, size_t, Stream*);
  int (*copy_out)(void*, DevicePointer, size_t, Stream*);
  int (*stream_create)(Stream**, unsigned flags);
  int (*stream_destroy)(Stream*);
  int (*stream_query)(Stream*);

  void check(int code, const char* attempt) const; // throws
};

#define TRTACT_DRIVER(F)                           \
  F(init, cuInit)                                  \
  F(error_name, cuGetErrorName)                    \
  F(device_get, cuDeviceGet)                       \
  F(context_retain, cuDevicePrimaryCtxRetain)      \
  F(context_release, cuDevicePrimaryCtxRelease_v2) \
  F(context_set, cuCtxSetCurrent)                  \
  F(allocate, cuMemAlloc_v2)                       \
  F(free, cuMemFree_v2)                            \
  F(copy_in, cuMemcpyHtoDAsync_v2)                 \
  F(copy_out, cuMemcpyDtoHAsync_v2)                \
  F(stream_create, cuStreamCreate)                 \
  F(stream_destroy, cuStreamDestroy_v2)            \
  F(stream_query, cuStreamQuery)

// Opened by the first call; an exception says what is missing.
const Nccl& nccl();
const Driver& driver();

}  // namespace trtact::collective
