// The mathematics in this folder is shared: the CPU backend calls it in loops,
// the CUDA backend in kernels. A function here is small, has no branches that
// keep a loop from being vectorised, and touches no memory.
#pragma once

#if defined(__CUDACC__)
#define TRTACT_HD __host__ __device__ __forceinline__
#else
#define TRTACT_HD inline __attribute__((always_inline))
#endif
