/* compute.h: the border between Go and a compute device.
 *
 * A backend is a shared library (libtrtact_cpu_*.so, libtrtact_cuda.so) that
 * exports one symbol, trtact_backend_open, and answers with one table of
 * functions. Both backends fill the same table, so nothing above this border
 * knows which device it runs on.
 *
 * An operator is created once for fixed shapes ("op"), then run as often as
 * wanted with the addresses of its tensors. Ops hold no tensor memory but their
 * prepacked constants; they may be run by several threads at once, each with a
 * workspace of its own. A sequence of ops with their addresses is a step list,
 * run by one call.
 *
 * Conventions: every function that can fail returns 0 or an error number and
 * writes one line of text to the caller's trtact_error. No exception leaves a
 * backend. Sizes are in elements unless the name says bytes. Every pointer is
 * borrowed for the duration of the call unless said otherwise.
 */
#ifndef TRTACT_COMPUTE_H
#define TRTACT_COMPUTE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRTACT_COMPUTE_ABI 5u
#define TRTACT_MAX_RANK 8
#define TRTACT_MAX_SPATIAL 3
#define TRTACT_API __attribute__((visibility("default")))

typedef struct trtact_error {
  char text[1000]; /* one line, lower case, "" when nothing failed */
} trtact_error;

/* How a tensor lies in memory. All tensors are float32.
 * PLAIN: row-major.
 * BLOCKED: [N][ceil(C/b)][spatial...][b] with b the backend's block; rank >= 3.
 *          Lanes beyond C are zero: every op keeps them so. */
enum { TRTACT_PLAIN = 0, TRTACT_BLOCKED = 1 };

typedef struct trtact_tensor {
  int32_t layout;
  int32_t rank;
  int64_t dims[TRTACT_MAX_RANK]; /* logical sizes, NCHW order */
} trtact_tensor;

/* Scalar functions, alone (TRTACT_OP_UNARY) or at the end of another op.
 * a and b are their parameters. The formulas are in csrc/kernels/activation.h. */
enum {
  TRTACT_ACT_NONE = 0,
  TRTACT_ACT_RELU,
  TRTACT_ACT_LEAKY_RELU,   /* a: slope */
  TRTACT_ACT_SIGMOID,
  TRTACT_ACT_HARD_SIGMOID, /* clamp(a x + b, 0, 1) */
  TRTACT_ACT_HARD_SWISH,   /* x clamp(x/6 + 0.5, 0, 1) */
  TRTACT_ACT_SILU,
  TRTACT_ACT_TANH,
  TRTACT_ACT_CLIP,         /* a: least, b: greatest */
  TRTACT_ACT_MISH,
  TRTACT_ACT_GELU,         /* with erf */
  TRTACT_ACT_GELU_TANH,
  TRTACT_ACT_ELU,          /* a: alpha */
  TRTACT_ACT_SOFTPLUS,
  TRTACT_ACT_EXP,
  TRTACT_ACT_LOG,
  TRTACT_ACT_SQRT,
  TRTACT_ACT_ABS,
  TRTACT_ACT_NEG,
  TRTACT_ACT_RECIPROCAL,
  TRTACT_ACT_FLOOR,
  TRTACT_ACT_CEIL,
  TRTACT_ACT_ROUND, /* half to even */
  TRTACT_ACT_ERF,
  TRTACT_ACT_COUNT
};

typedef struct trtact_activation {
  int32_t kind;
  float a, b;
} trtact_activation;

/* Operators. For each: inputs -> outputs, and its parameters. */
enum {
  /* x, w [, bias [, scale]] -> y = act(conv(x, w) * scale + bias).
   * w is [O][C/groups][k...] row-major, for the transposed form
   * [C][O/groups][k...]. bias and scale are [O]. With integer-valued x and w the
   * convolution is exact while partial sums stay below 2^24: that is how INT8
   * is simulated. params: trtact_conv. */
  TRTACT_OP_CONV = 1,
  TRTACT_OP_CONV_TRANSPOSE,
  /* x -> y. params: trtact_pool. */
  TRTACT_OP_POOL,
  /* a [.., M, K], b [.., K, N] [, bias [, scale]] -> y = act(a b * scale + bias),
   * batch dimensions broadcast; bias and scale are [N]. params: trtact_matmul. */
  TRTACT_OP_MATMUL,
  /* x -> act(x), any layout. params: trtact_activation. */
  TRTACT_OP_UNARY,
  /* a, b -> y with ONNX broadcasting. BLOCKED: equal shapes, one value per
   * (n, channel), or a one-element tensor. params: trtact_binary. */
  TRTACT_OP_BINARY,
  /* x -> y, PLAIN: strided copies between row-major buffers, each with its
   * input. params: trtact_copy. */
  TRTACT_OP_COPY,
  /* x... -> y, BLOCKED: moves runs of channels. params: trtact_channels. */
  TRTACT_OP_CHANNELS,
  /* x -> y: separable interpolation over the spatial dimensions, any layout.
   * params: trtact_resize. */
  TRTACT_OP_RESIZE,
  /* x -> y, PLAIN, softmax over one axis. params: trtact_axis. */
  TRTACT_OP_SOFTMAX,
  /* x [outer, axis, inner] -> y [outer, inner], PLAIN. params: trtact_reduce. */
  TRTACT_OP_REDUCE,
  /* x -> y [N, C, 1, 1], any layout: mean or max over space.
   * params: trtact_reduce (kind only). */
  TRTACT_OP_GLOBAL_POOL,
  /* x [, scale] -> clamp(round_half_even(x / scale), low, high), kept as float.
   * scale has one element, or one per index of params.axis.
   * params: trtact_quantize. */
  TRTACT_OP_QUANTIZE,
  /* q, scale -> q * scale. params: trtact_quantize (axis only). */
  TRTACT_OP_DEQUANTIZE,
  /* x, scale [C], shift [C] -> act(x * scale + shift) per channel (axis 1), any
   * layout. params: trtact_activation. */
  TRTACT_OP_AFFINE,
  /* x -> the same tensor in the output's layout. No params. */
  TRTACT_OP_REORDER,
};

typedef struct trtact_conv {
  int32_t spatial; /* number of spatial dimensions, 1 to 3 */
  int32_t has_bias, has_scale;
  int32_t integers; /* 1: x and w hold whole numbers of 8 bits, which a device may
                       multiply in any format that holds them exactly */
  int64_t groups;
  int64_t kernel[TRTACT_MAX_SPATIAL];
  int64_t stride[TRTACT_MAX_SPATIAL];
  int64_t dilation[TRTACT_MAX_SPATIAL]; /* 1: dense */
  int64_t pad_begin[TRTACT_MAX_SPATIAL];
  int64_t pad_end[TRTACT_MAX_SPATIAL];
  trtact_activation act;
  float quantize; /* > 0: y becomes round_half_even(y/quantize), [-128, 127] */
} trtact_conv;

enum { TRTACT_POOL_MAX = 0, TRTACT_POOL_AVERAGE, TRTACT_POOL_AVERAGE_WITH_PADDING };
typedef struct trtact_pool {
  int32_t kind;
  int32_t spatial;
  int64_t kernel[TRTACT_MAX_SPATIAL];
  int64_t stride[TRTACT_MAX_SPATIAL];
  int64_t dilation[TRTACT_MAX_SPATIAL];
  int64_t pad_begin[TRTACT_MAX_SPATIAL];
  int64_t pad_end[TRTACT_MAX_SPATIAL];
} trtact_pool;

typedef struct trtact_matmul {
  int32_t has_bias, has_scale;
  int32_t transpose_a, transpose_b;
  trtact_activation act;
} trtact_matmul;

enum {
  TRTACT_ADD = 0,
  TRTACT_SUB,
  TRTACT_MUL,
  TRTACT_DIV,
  TRTACT_POW,
  TRTACT_MIN,
  TRTACT_MAX,
  TRTACT_PRELU, /* a < 0 ? a * b : a */
};
typedef struct trtact_binary {
  int32_t kind;
} trtact_binary;

/* One strided copy: y[out_offset + sum i_d out_stride_d] =
 * x[in_offset + sum i_d in_stride_d] for all i_d < dims_d. */
typedef struct trtact_copy_part {
  int32_t input; /* which input */
  int32_t rank;
  int64_t dims[TRTACT_MAX_RANK];
  int64_t in_offset, in_stride[TRTACT_MAX_RANK];
  int64_t out_offset, out_stride[TRTACT_MAX_RANK];
} trtact_copy_part;
typedef struct trtact_copy {
  int32_t n_parts;
  int32_t fill; /* 1: y is first filled with value */
  float value;
  const trtact_copy_part* parts; /* copied by op_create */
} trtact_copy;

typedef struct trtact_channel_run {
  int32_t input; /* -1: zeros */
  int64_t from, to, count; /* first channel in the input, in the output */
} trtact_channel_run;
typedef struct trtact_channels {
  int32_t n_runs;
  const trtact_channel_run* runs; /* copied by op_create */
} trtact_channels;

/* For every output index of every spatial dimension: taps source indices and
 * their weights, row-major [out][taps]. */
typedef struct trtact_resize {
  int32_t spatial;
  int32_t taps[TRTACT_MAX_SPATIAL];
  const int32_t* index[TRTACT_MAX_SPATIAL]; /* copied by op_create */
  const float* weight[TRTACT_MAX_SPATIAL];  /* copied by op_create */
} trtact_resize;

typedef struct trtact_axis {
  int32_t axis;
  int32_t log; /* 1: logarithm of the softmax */
} trtact_axis;

enum {
  TRTACT_REDUCE_MEAN = 0,
  TRTACT_REDUCE_SUM,
  TRTACT_REDUCE_MAX,
  TRTACT_REDUCE_MIN,
  TRTACT_REDUCE_PROD,
  TRTACT_REDUCE_L2,
};
typedef struct trtact_reduce {
  int32_t kind;
  int64_t outer, axis, inner;
} trtact_reduce;

typedef struct trtact_quantize {
  int32_t axis;     /* -1: one scale */
  float low, high;  /* clamp, e.g. -128 and 127 */
} trtact_quantize;

/* What the factors of convolutions and matrix products may be rounded to. Sums are of
 * single precision, and results but those of convolutions in BF16. A CPU takes no
 * notice. */
enum {
  TRTACT_MATH_FP32 = 0,
  TRTACT_MATH_TF32, /* 10 bits behind the point */
  TRTACT_MATH_BF16, /* 7 bits; convolutions forwards, and those in groups: TF32 */
};

typedef struct trtact_op_desc {
  int32_t kind; /* TRTACT_OP_... */
  int32_t math; /* TRTACT_MATH_... */
  int32_t n_inputs, n_outputs;
  const trtact_tensor* inputs;
  const trtact_tensor* outputs;
  /* constants[i] is the value of input i, row-major, when it never changes
   * (copied and prepacked by op_create), else NULL. constants may be NULL. */
  const float* const* constants;
  const void* params;
  size_t params_size; /* checked against the struct the op expects */
} trtact_op_desc;

typedef struct trtact_device trtact_device;
typedef struct trtact_op trtact_op;

/* One op with the addresses of its tensors on the device. An input that was a
 * constant may be NULL. workspace has the op's workspace_bytes. */
typedef struct trtact_step {
  trtact_op* op;
  const float* const* inputs;
  float* const* outputs;
  void* workspace;
} trtact_step;

typedef struct trtact_backend {
  uint32_t abi;          /* TRTACT_COMPUTE_ABI */
  uint32_t table_size;   /* sizeof(trtact_backend) */
  const char* name;      /* "cpu" */
  const char* version;   /* "avx512, oneDNN 3.2.0" */

  int32_t (*device_open)(int32_t index, trtact_device** out, trtact_error*);
  void (*device_close)(trtact_device*);
  /* b of the BLOCKED layout */
  int32_t (*device_block)(const trtact_device*);

  /* 64-byte aligned device memory, zeroed. */
  int32_t (*alloc)(trtact_device*, size_t bytes, void** out, trtact_error*);
  void (*release)(trtact_device*, void*);
  int32_t (*upload)(trtact_device*, void* to, const void* from, size_t bytes, trtact_error*);
  int32_t (*download)(trtact_device*, void* to, const void* from, size_t bytes, trtact_error*);
  /* From one place of the device's memory to another. What is called afterwards, from
   * any thread, finds it done. */
  int32_t (*copy)(trtact_device*, void* to, const void* from, size_t bytes, trtact_error*);

  /* Bytes of memory: what is free now, and all. */
  int32_t (*memory)(trtact_device*, size_t* available, size_t* total, trtact_error*);

  /* threads: how many threads one run of this op uses (CPU). */
  int32_t (*op_create)(trtact_device*, const trtact_op_desc*, int32_t threads,
                       trtact_op** out, trtact_error*);
  void (*op_release)(trtact_op*);
  size_t (*op_workspace_bytes)(const trtact_op*);
  /* which implementation was chosen, for a person; owned by the op */
  const char* (*op_info)(const trtact_op*);

  /* Runs steps in order with that many threads each. seconds, when not NULL,
   * gets each step's time. */
  int32_t (*run)(trtact_device*, const trtact_step* steps, int32_t count,
                 int32_t threads, double* seconds, trtact_error*);

  /* Observers over a tensor on the device. */
  int32_t (*absmax)(trtact_device*, const trtact_tensor*, const float* x, float* out, trtact_error*);
  /* adds |x| to n equal bins over [0, upper]; what is above goes to the last */
  int32_t (*histogram)(trtact_device*, const trtact_tensor*, const float* x, float upper,
                       int64_t* bins, int32_t n, trtact_error*);
  /* adds the sum over everything but dimension 1 to sums[C] */
  int32_t (*channel_sums)(trtact_device*, const trtact_tensor*, const float* x, double* sums,
                          trtact_error*);

  /* devices, ops and buffers now alive, for leak tests */
  int64_t (*live)(void);
} trtact_backend;

/* NULL when abi is not the library's own. The table is static. */
TRTACT_API const trtact_backend* trtact_backend_open(uint32_t abi);

#ifdef __cplusplus
}
#endif
#endif
