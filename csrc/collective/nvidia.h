// What is called of NCCL and of CUDA's driver: both are opened when a group is joined,
// and their functions reached through these tables, so that nothing of NVIDIA's is
// needed to build or to start. The declarations follow NVIDIA's documentation of NCCL 2
// and of the driver; their numbers are part of the binary interface.
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

enum { CUDA_NOT_READY = 600 };

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

// Opened by the first call; an exception says what is missing.
const Nccl& nccl();
const Driver& driver();

}  // namespace trtact::collective
