/* A stand-in for a TensorRT shim, for tests of what happens around one. It is no
 * TensorRT and says so: its family, name and engines are "stand-in". The first
 * word of the model tells it how to behave. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "trtact/tensorrt.h"

#ifndef STANDIN_ABI
#define STANDIN_ABI TRTACT_TRT_ABI
#endif
#ifndef STANDIN_FEATURES
#define STANDIN_FEATURES                                                          \
  (TRTACT_TRT_WEAK_TYPES | TRTACT_TRT_LAYER_TYPES | TRTACT_TRT_TIMING_CACHE |         \
   TRTACT_TRT_OPTIMIZATION_LEVEL | TRTACT_TRT_VERSION_COMPATIBLE |                    \
   TRTACT_TRT_AMPERE_PLUS_ENGINES | TRTACT_TRT_SPARSE_WEIGHTS)
#endif
#ifndef STANDIN_SOURCES
#define STANDIN_SOURCES (TRTACT_TRT_CUDNN | TRTACT_TRT_JIT_CONVOLUTIONS)
#endif
#ifndef STANDIN_PROBE
#define STANDIN_PROBE TRTACT_TRT_OK
#endif

struct trtact_trt_library { int unused; };
struct trtact_trt_engine { char data[256], timings[64]; };
static int64_t handles;

static int32_t fail(trtact_trt_error* e, int32_t status, const char* text) {
  snprintf(e->text, sizeof e->text, "%s", text);
  return status;
}

static int32_t library_open(const char* const* folders, int32_t n, int32_t loader,
                            trtact_trt_library** out, trtact_trt_error* e) {
  (void)folders, (void)n, (void)loader, (void)e;
  *out = calloc(1, sizeof **out);
  ++handles;
  return TRTACT_TRT_OK;
}
static void library_close(trtact_trt_library* l) { free(l); --handles; }
static void library_version(const trtact_trt_library* l, int32_t v[3]) {
  (void)l;
  v[0] = 0, v[1] = 0, v[2] = 1;
}
static const char* library_path(const trtact_trt_library* l) { (void)l; return "stand-in"; }
static int32_t probe(trtact_trt_library* l, const char* log, trtact_trt_error* e) {
  (void)l, (void)log;
  if (STANDIN_PROBE == 11) raise(SIGSEGV);
  return STANDIN_PROBE == TRTACT_TRT_OK ? TRTACT_TRT_OK : fail(e, STANDIN_PROBE, "stand-in finds no GPU");
}

static void note(const char* path, const char* text, int number) {
  FILE* f = fopen(path, "a");
  if (f == NULL) exit(9);
  fprintf(f, "%s %d\n", text, number);
  fclose(f);
}

#define say(engine, ...)                                                                    \
  snprintf((engine)->data + strlen((engine)->data), sizeof (engine)->data - strlen((engine)->data), __VA_ARGS__)

static int32_t build(trtact_trt_library* l, const trtact_trt_build_options* o,
                     trtact_trt_engine** out, trtact_trt_error* e) {
  (void)l;
  char word[16] = "";
  size_t n = o->onnx_bytes < sizeof word - 1 ? o->onnx_bytes : sizeof word - 1;
  memcpy(word, o->onnx, n);
  note(o->log_path, "stand-in is asked to", 1);
  if (strcmp(word, "crash") == 0) raise(SIGSEGV);
  if (strcmp(word, "abort") == 0) abort();
  if (strcmp(word, "killed") == 0) raise(SIGKILL);
  if (strcmp(word, "exit") == 0) exit(3);
  if (strcmp(word, "hang") == 0) {
    pid_t other = fork(); /* something that TensorRT started */
    if (other == 0) for (;;) pause();
    note(o->log_path, "process", (int)getpid());
    note(o->log_path, "process", (int)other);
    for (;;) pause();
  }
  if (strcmp(word, "fail") == 0) return fail(e, TRTACT_TRT_FAILED, "stand-in cannot");
  if (strcmp(word, "invalid") == 0) return fail(e, TRTACT_TRT_INVALID, "stand-in takes no such option");
  if (strcmp(word, "model") == 0) return fail(e, TRTACT_TRT_BAD_MODEL, "node 3 'a' (Foo): stand-in knows it not");
  if (strcmp(word, "device") == 0) return fail(e, TRTACT_TRT_NO_DEVICE, "stand-in needs a GPU");
  /* What was asked for is the engine, so that a test sees what came through. */
  *out = calloc(1, sizeof **out);
  ++handles;
  snprintf((*out)->data, sizeof (*out)->data, "stand-in fp16=%d int8=%d level=%d workspace=%llu profiles=%d",
           o->fp16, o->int8, o->optimization_level, (unsigned long long)o->workspace_bytes, o->n_profiles);
  const uint32_t extras[] = {o->sources_on, o->sources_off, (uint32_t)o->version_compatible,
                             (uint32_t)o->hardware_compatible, (uint32_t)o->refit, (uint32_t)o->sparse_weights};
  for (size_t i = 0; i < sizeof extras / sizeof *extras; ++i) say(*out, i == 0 ? " more=%u" : ",%u", extras[i]);
  for (int32_t i = 0; i < o->n_layer_types; ++i) {
    say(*out, o->layer_types[i].type == TRTACT_TRT_INT8 ? " %s:int8" : " %s:float", o->layer_types[i].node);
  }
  /* Its timing cache counts the builds that it has seen. */
  if (o->keep_timings) {
    snprintf((*out)->timings, sizeof (*out)->timings, "%.*s|", (int)o->timing_cache_bytes, (const char*)o->timing_cache);
  }
  return TRTACT_TRT_OK;
}
static void engine_release(trtact_trt_engine* g) { free(g); --handles; }
static const void* engine_data(const trtact_trt_engine* g, size_t* n) { *n = strlen(g->data); return g->data; }
static int32_t engine_io_count(const trtact_trt_engine* g) { (void)g; return 2; }
static void engine_io(const trtact_trt_engine* g, int32_t i, trtact_trt_io* out) {
  (void)g;
  memset(out, 0, sizeof *out);
  out->name = i == 0 ? "images" : "boxes";
  out->is_input = i == 0;
  out->type = i == 0 ? TRTACT_TRT_FLOAT32 : TRTACT_TRT_FLOAT16;
  out->dims.rank = 2;
  out->dims.size[0] = -1, out->dims.size[1] = 7 + i;
}
static int32_t engine_layer_count(const trtact_trt_engine* g) { (void)g; return 2; }
static void engine_layer(const trtact_trt_engine* g, int32_t i, trtact_trt_layer* out) {
  (void)g;
  memset(out, 0, sizeof *out);
  out->name = i == 0 ? "first" : "second";
  out->kind = "Convolution";
  out->quantized = i;
  out->weights = 100;
  out->weight_type = i == 0 ? TRTACT_TRT_FLOAT32 : TRTACT_TRT_INT8;
}
static int32_t engine_inspect(trtact_trt_library* l, trtact_trt_engine* g, const char** json, trtact_trt_error* e) {
  (void)l, (void)g, (void)e;
  *json = "{\"Layers\": []}";
  return TRTACT_TRT_OK;
}
static const void* engine_timings(const trtact_trt_engine* g, size_t* n) {
  *n = strlen(g->timings);
  return g->timings;
}
static int64_t live(void) { return handles; }

static const trtact_trt_api table = {
    STANDIN_ABI, sizeof table, "standin", "stand-in", {0, 0, 1}, STANDIN_FEATURES, STANDIN_SOURCES, NULL, 0,
    library_open, library_close, library_version, library_path, probe, build, engine_release,
    engine_data, engine_io_count, engine_io, engine_layer_count, engine_layer, engine_inspect, engine_timings, live, NULL,
};

const trtact_trt_api* trtact_trt_open(uint32_t abi) { return abi == STANDIN_ABI ? &table : NULL; }
