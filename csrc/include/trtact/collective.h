/* collective.h: the border between Go and what carries numbers between the
 * processes of one training.
 *
 * An engine is a shared library (libtrtact_mpi.so, libtrtact_nccl.so) that exports
 * one symbol, trtact_collective_open, and answers with one table of functions. The
 * communication itself is MPI's or NCCL's.
 *
 * Every process of a group makes the same calls in the same order, each from one
 * thread at a time. Where others may be late, arrive comes before a call that moves
 * data: waiting in it is cheap and can be broken off, the calls behind it are neither.
 *
 * Conventions: every function that can fail returns 0 or an error number and
 * writes one line of text to the caller's trtact_error. No exception leaves a
 * library. Every pointer is borrowed for the duration of the call.
 */
#ifndef TRTACT_COLLECTIVE_H
#define TRTACT_COLLECTIVE_H

#include <stddef.h>
#include <stdint.h>

#include "trtact/compute.h" /* trtact_error, TRTACT_API */

#ifdef __cplusplus
extern "C" {
#endif

#define TRTACT_COLLECTIVE_ABI 1u
#define TRTACT_COLLECTIVE_ID_BYTES 128

typedef struct trtact_group trtact_group;

/* What tells the processes of one group from others where the engine has no
 * launcher that does: NCCL's unique id. */
typedef struct trtact_collective_id {
  char bytes[TRTACT_COLLECTIVE_ID_BYTES];
} trtact_collective_id;

typedef struct trtact_collective_place {
  int32_t rank, size; /* NCCL; MPI knows them itself */
  int32_t device;     /* NCCL: number of the CUDA device */
  trtact_collective_id id;
} trtact_collective_place;

enum { TRTACT_COLLECTIVE_FLOAT32 = 0, TRTACT_COLLECTIVE_FLOAT64 = 1 };
enum { TRTACT_COLLECTIVE_SUM = 0, TRTACT_COLLECTIVE_MAX = 1 };
/* Where data lies: in host memory, or in memory of the CUDA device as the compute
 * backend allocates it. MPI takes host memory only. */
enum { TRTACT_COLLECTIVE_HOST = 0, TRTACT_COLLECTIVE_DEVICE = 1 };

typedef struct trtact_collective {
  size_t table_size; /* of this struct */
  const char* name;  /* "mpi", "nccl" */
  int32_t device_memory; /* 1: TRTACT_COLLECTIVE_DEVICE is taken */

  /* The version of the library behind this one. Length of slot: n, zero included. */
  int32_t (*version)(char* slot, size_t n, trtact_error*);
  /* Makes the id that all processes are given; zeros where the engine needs none. */
  int32_t (*make_id)(trtact_collective_id*, trtact_error*);
  /* Joins the group; returns when all have. At most one at a time in a process. */
  int32_t (*join)(const trtact_collective_place*, trtact_group**, trtact_error*);
  int32_t (*rank)(const trtact_group*);
  int32_t (*size)(const trtact_group*);

  /* Waits up to so many milliseconds, mostly asleep, for all processes to make as
   * many calls of arrive that began; all: whether they have. While they have not,
   * the next call goes on waiting for the same. */
  int32_t (*arrive)(trtact_group*, int32_t milliseconds, int32_t* all, trtact_error*);
  /* Replaces data by its sum or maximum over the processes: the same on all. Work of
   * the compute device on it must not be going on; when this returns it is there. */
  int32_t (*all_reduce)(trtact_group*, void* data, size_t count, int32_t type, int32_t op, int32_t memory, trtact_error*);
  /* Copies host memory of process root to all others. */
  int32_t (*broadcast)(trtact_group*, void* data, size_t bytes, int32_t root, trtact_error*);

  /* May be called from any thread: another process is gone, so what waits for it,
   * now or later, ends with an error. MPI's launcher ends all processes itself. */
  void (*abandon)(trtact_group*);

  /* Leaves the group. clean: all processes do so; else the others are not waited
   * for, and this process is about to end. Frees the group. */
  void (*leave)(trtact_group*, int32_t clean);
} trtact_collective;

/* The library's table, or NULL when it is of another ABI than abi. */
TRTACT_API const trtact_collective* trtact_collective_open(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
