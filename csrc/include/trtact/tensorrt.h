/* tensorrt.h: the border between Go and TensorRT.
 *
 * TensorRT speaks C++ with virtual functions, so what calls it must be compiled
 * against the headers of the library it meets. A shim is that: one source,
 * compiled once for each family (TensorRT 8, 10, 11, TensorRT for RTX 1) whose
 * headers are on the machine, into libtrtact_trt_FAMILY.so. A shim links no
 * TensorRT; it opens the libraries at run time and refuses those of another
 * major version or older than its headers.
 *
 * A shim exports one symbol, trtact_trt_open, which answers with one table of
 * functions. All shims fill the same table, so nothing above this border knows
 * versions.
 *
 * Conventions: every function that can fail returns a TRTACT_TRT_ status and
 * writes one line to the caller's trtact_trt_error. No exception leaves a shim.
 * TensorRT may still crash or abort on its own: call it from a process whose
 * loss can be borne. Every pointer passed in is borrowed for the duration of
 * the call; every pointer handed out belongs to the handle it was asked from.
 * One handle is for one thread at a time.
 */
#ifndef TRTACT_TENSORRT_H
#define TRTACT_TENSORRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRTACT_TRT_ABI 3u
#define TRTACT_TRT_MAX_RANK 8
#define TRTACT_TRT_EXPORT __attribute__((visibility("default")))

enum {
  TRTACT_TRT_OK = 0,
  TRTACT_TRT_FAILED = 1,     /* TensorRT could not do it */
  TRTACT_TRT_INVALID = 2,    /* an option that makes no sense here */
  TRTACT_TRT_NO_LIBRARY = 3, /* TensorRT's libraries are missing or do not fit */
  TRTACT_TRT_NO_DEVICE = 4,  /* needs an NVIDIA GPU and driver */
  TRTACT_TRT_BAD_MODEL = 5,  /* TensorRT refuses the model, or the engine to load */
};

typedef struct trtact_trt_error {
  char text[1000]; /* one line, "" when nothing failed */
} trtact_trt_error;

/* Element types, numbered as TensorRT numbers them. */
enum {
  TRTACT_TRT_FLOAT32 = 0,
  TRTACT_TRT_FLOAT16 = 1,
  TRTACT_TRT_INT8 = 2,
  TRTACT_TRT_INT32 = 3,
  TRTACT_TRT_BOOL = 4,
  TRTACT_TRT_UINT8 = 5,
  TRTACT_TRT_FP8 = 6,
  TRTACT_TRT_BFLOAT16 = 7,
  TRTACT_TRT_INT64 = 8,
};

typedef struct trtact_trt_dims {
  int32_t rank;
  int64_t size[TRTACT_TRT_MAX_RANK]; /* -1: dynamic */
} trtact_trt_dims;

/* An input or output of the network. */
typedef struct trtact_trt_io {
  const char* name;
  int32_t is_input;
  int32_t type;
  trtact_trt_dims dims;
} trtact_trt_io;

/* A layer of the network as parsed, before TensorRT fuses layers. */
typedef struct trtact_trt_layer {
  const char* name; /* the parser makes it from the ONNX node's name */
  const char* kind; /* "Convolution", "Concatenation", ... */
  int32_t type;     /* of its first output */
  /* 1: a Convolution, Deconvolution or MatrixMultiply whose operands all come
   * from DequantizeLinear, so that TensorRT may run it in INT8 */
  int32_t quantized;
  /* elements of its constant weights, and the type in which the layer gets
   * them: INT8 when they pass through DequantizeLinear */
  int64_t weights;
  int32_t weight_type;
  trtact_trt_dims dims; /* of its first output */
} trtact_trt_layer;

/* The sizes that an input with dynamic dimensions may take. */
typedef struct trtact_trt_profile {
  const char* input;
  trtact_trt_dims min, opt, max;
} trtact_trt_profile;

/* The least severe message that reaches the log. */
enum {
  TRTACT_TRT_LOG_ERROR = 1,
  TRTACT_TRT_LOG_WARNING = 2,
  TRTACT_TRT_LOG_INFO = 3,
  TRTACT_TRT_LOG_VERBOSE = 4,
};

/* The type in which a layer of the ONNX file is to compute, by its node's name:
 * FLOAT32, FLOAT16 or INT8. The node's parts that compute with floats all get it. */
typedef struct trtact_trt_layer_type {
  const char* node;
  int32_t type;
} trtact_trt_layer_type;

/* Where TensorRT may take kernels from, as bits. */
enum {
  TRTACT_TRT_CUBLAS = 1,
  TRTACT_TRT_CUBLAS_LT = 2,
  TRTACT_TRT_CUDNN = 4,
  TRTACT_TRT_EDGE_MASK_CONVOLUTIONS = 8,
  TRTACT_TRT_JIT_CONVOLUTIONS = 16,
};

/* Which other GPUs an engine runs on than the one that it was built on: none,
 * all since Ampere, all of the same compute capability. */
enum { TRTACT_TRT_THIS_GPU = 0, TRTACT_TRT_AMPERE_PLUS = 1, TRTACT_TRT_SAME_CAPABILITY = 2 };

/* What names of layers the engine keeps for a profile: their names, nothing,
 * or all details. */
enum { TRTACT_TRT_NAMES = 0, TRTACT_TRT_NO_NAMES = 1, TRTACT_TRT_DETAILED = 2 };

typedef struct trtact_trt_build_options {
  uint32_t struct_size; /* sizeof(trtact_trt_build_options) */
  /* The ONNX file's bytes, constants inside: external data is not followed. */
  const void* onnx;
  size_t onnx_bytes;
  /* Weakly typed families (features has WEAK_TYPES): what TensorRT may choose
   * beside FP32. INT8 is allowed of itself where the model has Q/DQ. Where the
   * feature is missing, types are the model's own and these must be 0. */
  int32_t fp16, int8;
  /* INT8 scales of a float model as TensorRT's calibration cache (needs the
   * feature CALIBRATION_CACHE and int8), or NULL. */
  const void* calibration_cache;
  size_t calibration_cache_bytes;
  int32_t no_tf32;            /* 1: FP32 convolutions may not use TF32 */
  int32_t optimization_level; /* 0 to 5, -1: TensorRT's default */
  int32_t verbosity;          /* TRTACT_TRT_NAMES, ... */
  uint64_t workspace_bytes;   /* 0: TensorRT's default */
  /* Compute capabilities to build for, 86 for sm_86 (needs the feature
   * TARGETS). None: the GPU of this machine. */
  const int32_t* targets;
  int32_t n_targets;
  const trtact_trt_profile* profiles;
  int32_t n_profiles;
  const char* log_path; /* messages are appended to this file; NULL: none */
  int32_t log_level;    /* TRTACT_TRT_LOG_... */
  /* Types that single layers have to have (needs the feature LAYER_TYPES). A node
   * that the parser has done away with (it computed a constant) is passed over. */
  const trtact_trt_layer_type* layer_types;
  int32_t n_layer_types;
  /* 1: TensorRT's measurements of kernels are kept, see engine_timings. The bytes
   * are those of an earlier build, or NULL (needs the feature TIMING_CACHE). */
  int32_t keep_timings;
  const void* timing_cache;
  size_t timing_cache_bytes;
  /* TRTACT_TRT_CUBLAS | ...: to take in and to leave out, beside TensorRT's own
   * choice; the table's tactic_sources tells which the family has. */
  uint32_t sources_on, sources_off;
  int32_t version_compatible;  /* 1: newer TensorRTs load it (feature VERSION_COMPATIBLE) */
  int32_t hardware_compatible; /* TRTACT_TRT_AMPERE_PLUS, ... (features ..._ENGINES) */
  int32_t refit;               /* 1: weights can be exchanged in the engine */
  int32_t sparse_weights;      /* 1: 2:4 sparse weights may get their own kernels (feature SPARSE_WEIGHTS) */
} trtact_trt_build_options;

enum {
  TRTACT_TRT_WEAK_TYPES = 1,        /* fp16 and int8 are TensorRT's choice */
  TRTACT_TRT_CALIBRATION_CACHE = 4, /* implicit INT8 is possible */
  TRTACT_TRT_TARGETS = 8,           /* builds without a GPU for named targets */
  TRTACT_TRT_LAYER_TYPES = 16,      /* layer_types is possible */
  TRTACT_TRT_TIMING_CACHE = 32,
  TRTACT_TRT_OPTIMIZATION_LEVEL = 64,
  TRTACT_TRT_VERSION_COMPATIBLE = 128,
  TRTACT_TRT_AMPERE_PLUS_ENGINES = 256,
  TRTACT_TRT_SAME_CAPABILITY_ENGINES = 512,
  TRTACT_TRT_SPARSE_WEIGHTS = 1024,
};

/* TensorRT's libraries, opened. Closing forgets them; they stay in the process,
 * because they do not survive being unloaded. */
typedef struct trtact_trt_library trtact_trt_library;
/* A serialised engine with what is known of its network. */
typedef struct trtact_trt_engine trtact_trt_engine;

/* Running an engine. A session is an engine, loaded on one device, with
 * execution contexts; each has a stream, and device and pinned host memory for
 * every input and output. */
typedef struct trtact_trt_session trtact_trt_session;

/* The sizes of an input with dynamic dimensions. */
typedef struct trtact_trt_shape {
  const char* input;
  trtact_trt_dims dims;
} trtact_trt_shape;

typedef struct trtact_trt_session_options {
  uint32_t struct_size; /* sizeof(trtact_trt_session_options) */
  int32_t device;       /* CUDA's number */
  const void* engine;   /* the serialised engine */
  size_t engine_bytes;
  int32_t contexts; /* at least 1 */
  int32_t profile;  /* optimisation profile */
  /* inputs not named here take the profile's opt */
  const trtact_trt_shape* shapes;
  int32_t n_shapes;
  int32_t layers;       /* 1: a context more, for profile */
  const char* log_path; /* as in build, for all calls of the session */
  int32_t log_level;
} trtact_trt_session_options;

typedef struct trtact_trt_time_options {
  uint32_t struct_size; /* sizeof(trtact_trt_time_options) */
  int32_t warm_up;      /* runs of each stream before anything is measured */
  /* the block ends when both are reached, and at max_samples */
  int64_t iterations; /* of all streams together */
  double milliseconds;
  int64_t max_samples;
  int32_t streams;      /* contexts that run at the same time */
  int32_t in_flight;    /* runs enqueued on a stream at most, at least 1 */
  int32_t graph;        /* 1: launch the network as a CUDA graph */
  int32_t no_transfers; /* 1: inputs and outputs stay on the device */
  int32_t spin;         /* 1: wait by asking the device all the time */
} trtact_trt_time_options;

/* One run, in milliseconds. start: when the host began to enqueue it, since the
 * block began; enqueue: host time of handing over the network; the rest are the
 * device's times: copies to it, the network, copies from it, and from the
 * beginning of the first to the end of the last. */
typedef struct trtact_trt_sample {
  double start, enqueue, h2d, gpu, d2h, end_to_end;
} trtact_trt_sample;

/* Belongs to the session, until its next call. */
typedef struct trtact_trt_block {
  const trtact_trt_sample* samples; /* by stream, then in their order */
  int64_t count;
  double wall; /* milliseconds from the first start to the last end */
  int32_t graphed;
  const char* note; /* why there is no graph though asked for, or "" */
} trtact_trt_block;

/* What a layer of the engine takes, in milliseconds, the mean over the runs. */
typedef struct trtact_trt_layer_time {
  const char* name;
  double milliseconds;
} trtact_trt_layer_time;

typedef struct trtact_trt_runtime_api {
  uint32_t table_size; /* sizeof(trtact_trt_runtime_api) */

  /* Loads an engine. BAD_MODEL: TensorRT refuses it; NO_DEVICE: there is no GPU
   * or driver; INVALID: device, profile or shapes do not fit. */
  int32_t (*open)(trtact_trt_library*, const trtact_trt_session_options*,
                  trtact_trt_session** out, trtact_trt_error*);
  void (*close)(trtact_trt_session*);

  /* Inputs, then outputs, with the sizes of this session. A size that depends
   * on the data is -1 before run, then what it was; the memory has room for any. */
  int32_t (*io_count)(const trtact_trt_session*);
  void (*io)(const trtact_trt_session*, int32_t i, trtact_trt_io* out);
  /* The pinned host memory of an input, to be written, or of an output, to be
   * read after run; bytes is its size. */
  void* (*memory)(trtact_trt_session*, int32_t i, size_t* bytes);
  /* device memory that loading and the contexts took */
  uint64_t (*device_bytes)(const trtact_trt_session*);

  /* Copies the inputs to the device, runs, copies the outputs back, waits. */
  int32_t (*run)(trtact_trt_session*, trtact_trt_error*);
  /* Runs on the present inputs again and again. */
  int32_t (*time)(trtact_trt_session*, const trtact_trt_time_options*, trtact_trt_block* out,
                  trtact_trt_error*);
  /* Runs on the present inputs with TensorRT's profiler. The list, in the order
   * of execution, belongs to the session until its next call. */
  int32_t (*profile)(trtact_trt_session*, int32_t iterations,
                     const trtact_trt_layer_time** out, int32_t* count, trtact_trt_error*);
  /* The engine inspector's account as JSON; belongs to the session. */
  int32_t (*inspect)(trtact_trt_session*, const char** json, trtact_trt_error*);
} trtact_trt_runtime_api;

typedef struct trtact_trt_api {
  uint32_t abi;        /* TRTACT_TRT_ABI */
  uint32_t table_size; /* sizeof(trtact_trt_api) */
  const char* family;  /* "trt8", "trt10", "trt11", "rtx1" */
  const char* name;    /* "TensorRT", "TensorRT for RTX" */
  int32_t headers[3];  /* version compiled against: major, minor, patch */
  uint32_t features;
  uint32_t tactic_sources; /* TRTACT_TRT_CUBLAS | ...: those that can be chosen */
  const int32_t* targets; /* every target there is, ascending */
  int32_t n_targets;

  /* Looks for TensorRT in the folders (absolute, in this order), then, where
   * loader is 1, where the dynamic loader looks. */
  int32_t (*library_open)(const char* const* folders, int32_t n_folders, int32_t loader,
                          trtact_trt_library** out, trtact_trt_error*);
  void (*library_close)(trtact_trt_library*);
  void (*library_version)(const trtact_trt_library*, int32_t version[3]);
  /* the file that was opened */
  const char* (*library_path)(const trtact_trt_library*);
  /* OK when an engine can be built here; log_path as in build. */
  int32_t (*probe)(trtact_trt_library*, const char* log_path, trtact_trt_error*);

  int32_t (*build)(trtact_trt_library*, const trtact_trt_build_options*,
                   trtact_trt_engine** out, trtact_trt_error*);
  void (*engine_release)(trtact_trt_engine*);
  /* valid until engine_release */
  const void* (*engine_data)(const trtact_trt_engine*, size_t* bytes);
  int32_t (*engine_io_count)(const trtact_trt_engine*);
  /* 0 <= i < count */
  void (*engine_io)(const trtact_trt_engine*, int32_t i, trtact_trt_io* out);
  int32_t (*engine_layer_count)(const trtact_trt_engine*);
  void (*engine_layer)(const trtact_trt_engine*, int32_t i, trtact_trt_layer* out);
  /* Loads the engine and asks TensorRT's engine inspector for its layers as
   * JSON; *json lives until engine_release. Needs the GPU. */
  int32_t (*engine_inspect)(trtact_trt_library*, trtact_trt_engine*, const char** json,
                            trtact_trt_error*);

  /* The timing cache after the build; *bytes is 0 when keep_timings was 0. Valid
   * until engine_release. */
  const void* (*engine_timings)(const trtact_trt_engine*, size_t* bytes);

  /* libraries, engines and sessions now alive, for leak tests */
  int64_t (*live)(void);

  const trtact_trt_runtime_api* runtime; /* NULL: the shim cannot run engines */
} trtact_trt_api;

/* NULL when abi is not the shim's own. The table is static. */
TRTACT_TRT_EXPORT const trtact_trt_api* trtact_trt_open(uint32_t abi);

#ifdef __cplusplus
}
#endif
#endif
