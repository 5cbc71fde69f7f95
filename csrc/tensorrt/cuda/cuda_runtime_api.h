/* TensorRT's headers include CUDA's for these two types only. With them declared
 * here, as the opaque pointers they are, no CUDA toolkit is needed to compile. */
#pragma once
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
