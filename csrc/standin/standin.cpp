// A stand-in for a TensorRT shim: the whole of trtact/tensorrt.h over engines that
// are short texts (engine.h), without TensorRT and without a GPU. What goes
// on around a TensorRT is tested with it: loading, running, timing, and every way
// to fail. Its family, name, path and engines say "stand-in"; its clock is made up.
//
// The environment variable TRTACT_STANDIN changes it: "no-device", or
// "version=1.2.3" for a library of that version.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unistd.h>

#include "engine.h"
#include "failure.h"

using trtact::Failure;

namespace {
std::atomic<int64_t> live_handles{0};
struct Counted {
  Counted() { ++live_handles; }
  ~Counted() { --live_handles; }
};

// What TRTACT_STANDIN says behind a word, or NULL.
const char* told(const char* word) {
  const char* text = std::getenv("TRTACT_STANDIN");
  return text != nullptr && std::strncmp(text, word, std::strlen(word)) == 0 ? text + std::strlen(word) : nullptr;
}

void need_device(const char* what) {
  if (told("no-device") != nullptr) {
    throw Failure(TRTACT_TRT_NO_DEVICE, std::string(what) + " needs an NVIDIA GPU and driver, which the stand-in is told are missing");
  }
}

void note(const char* log_path, const std::string& text) {
  if (log_path == nullptr || *log_path == 0) return;
  if (std::FILE* file = std::fopen(log_path, "ae")) {
    std::fprintf(file, "[stand-in] %s\n", text.c_str());
    std::fclose(file);
  }
}
} // namespace

struct trtact_trt_library : Counted {
  int32_t version[3] = {1, 0, 0};
  std::string text() const {
    return std::to_string(version[0]) + "." + std::to_string(version[1]) + "." + std::to_string(version[2]);
  }
};

struct trtact_trt_engine : Counted {
  std::string data;
  standin::Engine read;
};

struct trtact_trt_session : Counted {
  standin::Engine engine;
  std::string log_path;
  int32_t contexts = 1;
  bool layers = false;
  std::vector<trtact_trt_sample> samples;
  std::vector<trtact_trt_layer_time> times;
  std::string inspection;
};

namespace {

int32_t library_open(const char* const*, int32_t, int32_t, trtact_trt_library** out, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    *out = nullptr;
    auto library = std::make_unique<trtact_trt_library>();
    if (const char* v = told("version=")) {
      std::sscanf(v, "%d.%d.%d", &library->version[0], &library->version[1], &library->version[2]);
    }
    *out = library.release();
  });
}
void library_close(trtact_trt_library* library) { delete library; }
void library_version(const trtact_trt_library* library, int32_t v[3]) { std::memcpy(v, library->version, sizeof library->version); }
const char* library_path(const trtact_trt_library*) { return "stand-in"; }
int32_t probe(trtact_trt_library*, const char*, trtact_trt_error* error) {
  return trtact::border(error, [] { need_device("stand-in"); });
}

int32_t build(trtact_trt_library* library, const trtact_trt_build_options* o, trtact_trt_engine** out, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    *out = nullptr;
    need_device("building");
    note(o->log_path, "build");
    auto engine = std::make_unique<trtact_trt_engine>();
    engine->read = standin::read(o->onnx, o->onnx_bytes, standin::model_word);
    engine->read.reach("build");
    const std::string model(static_cast<const char*>(o->onnx), o->onnx_bytes);
    engine->data = std::string(standin::engine_word) + "\nversion " + library->text() + model.substr(model.find('\n'));
    *out = engine.release();
  });
}
void engine_release(trtact_trt_engine* engine) { delete engine; }
const void* engine_data(const trtact_trt_engine* engine, size_t* bytes) {
  *bytes = engine->data.size();
  return engine->data.data();
}
const void* engine_timings(const trtact_trt_engine*, size_t* bytes) {
  *bytes = 0;
  return nullptr;
}
int32_t engine_io_count(const trtact_trt_engine* engine) { return static_cast<int32_t>(engine->read.tensors.size()); }
void engine_io(const trtact_trt_engine* engine, int32_t i, trtact_trt_io* out) {
  const standin::Tensor& t = engine->read.tensors[static_cast<size_t>(i)];
  *out = {t.name.c_str(), t.input, t.type, t.declared};
}
int32_t engine_layer_count(const trtact_trt_engine* engine) { return static_cast<int32_t>(engine->read.layers.size()); }
void engine_layer(const trtact_trt_engine* engine, int32_t i, trtact_trt_layer* out) {
  *out = {};
  out->name = engine->read.layers[static_cast<size_t>(i)].name.c_str();
  out->kind = "Other";
}
int32_t engine_inspect(trtact_trt_library*, trtact_trt_engine*, const char** json, trtact_trt_error*) {
  *json = "{\"Layers\": []}";
  return TRTACT_TRT_OK;
}

std::string text(const trtact_trt_dims& dims) {
  std::string out;
  for (int32_t i = 0; i < dims.rank; ++i) out += (i == 0 ? "" : "x") + std::to_string(dims.size[i]);
  return out;
}

void resize(standin::Engine& engine, const trtact_trt_session_options& o) {
  const auto invalid = [](const std::string& why) { throw Failure(TRTACT_TRT_INVALID, why); };
  if (o.profile != 0) invalid("the engine has no optimisation profile " + std::to_string(o.profile) + ", it has 1");
  for (int32_t k = 0; k < o.n_shapes; ++k) {
    bool known = false;
    for (standin::Tensor& t : engine.tensors) {
      if (!t.input || t.name != o.shapes[k].input) continue;
      known = true;
      const trtact_trt_dims& want = o.shapes[k].dims;
      bool fits = want.rank == t.opt.rank;
      for (int32_t i = 0; fits && i < want.rank; ++i) fits = t.min.size[i] <= want.size[i] && want.size[i] <= t.max.size[i];
      if (!fits) {
        invalid("input '" + t.name + "' cannot be " + text(want) + ": the engine was built for " + text(t.min) + " to " + text(t.max));
      }
      t.opt = want;
    }
    if (!known) invalid(std::string("the engine has no input '") + o.shapes[k].input + "'");
  }
  for (standin::Tensor& t : engine.tensors) {
    t.dims = t.opt;
    int64_t room = static_cast<int64_t>(standin::element_bytes(t.type));
    for (int32_t i = 0; i < t.dims.rank; ++i) {
      if (t.dims.size[i] < 0 && t.most == 0) t.dims.size[i] = engine.tensors[0].opt.size[0]; // n
      room *= t.dims.size[i] < 0 ? t.most : t.dims.size[i];
    }
    t.memory.resize(static_cast<size_t>(room));
  }
}

int32_t session_open(trtact_trt_library* library, const trtact_trt_session_options* o, trtact_trt_session** out, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    *out = nullptr;
    note(o->log_path, "load, process " + std::to_string(getpid()));
    need_device("running an engine");
    if (o->device != 0) throw Failure(TRTACT_TRT_INVALID, "there is no CUDA device " + std::to_string(o->device) + ", they count from 0 to 0");
    auto session = std::make_unique<trtact_trt_session>();
    session->engine = standin::read(o->engine, o->engine_bytes, standin::engine_word);
    if (session->engine.version != library->text()) {
      throw Failure(TRTACT_TRT_BAD_MODEL, "stand-in " + library->text() + " does not load the engine: it is of version " + session->engine.version);
    }
    session->engine.reach("load");
    session->log_path = o->log_path != nullptr ? o->log_path : "";
    session->contexts = o->contexts;
    session->layers = o->layers != 0;
    resize(session->engine, *o);
    *out = session.release();
  });
}

void session_close(trtact_trt_session* session) {
  trtact_trt_error error;
  trtact::border(&error, [&] { session->engine.reach("close"); });
  delete session;
}

int32_t io_count(const trtact_trt_session* session) { return static_cast<int32_t>(session->engine.tensors.size()); }
void io(const trtact_trt_session* session, int32_t i, trtact_trt_io* out) {
  const standin::Tensor& t = session->engine.tensors[static_cast<size_t>(i)];
  *out = {t.name.c_str(), t.input, t.type, t.dims};
}
void* memory(trtact_trt_session* session, int32_t i, size_t* bytes) {
  std::vector<uint8_t>& m = session->engine.tensors[static_cast<size_t>(i)].memory;
  *bytes = m.size();
  return m.data();
}
// The memory of all contexts.
uint64_t device_bytes(const trtact_trt_session* session) {
  uint64_t n = 0;
  for (const standin::Tensor& t : session->engine.tensors) n += t.memory.size();
  return n * static_cast<uint64_t>(session->contexts + (session->layers ? 1 : 0));
}

void wait(const trtact_trt_session& session) {
  if (session.engine.sleep > 0) usleep(static_cast<useconds_t>(session.engine.sleep * 1000));
}

int32_t run(trtact_trt_session* session, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    note(session->log_path.c_str(), "run");
    session->engine.reach("run");
    wait(*session);
    for (standin::Tensor& t : session->engine.tensors) { // a size that depends on the data is half the most
      for (int32_t i = 0; i < t.dims.rank && t.most > 0; ++i) {
        if (t.opt.size[i] < 0) t.dims.size[i] = t.most / 2;
      }
    }
    standin::compute(session->engine.tensors);
  });
}

// A clock that is made up: the network takes what the engine says and up to 4 %
// more in a cycle of five runs, a copy 1/8 ms. The duration is used up by runs.
int32_t time(trtact_trt_session* session, const trtact_trt_time_options* o, trtact_trt_block* out, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    *out = {};
    session->engine.reach("time");
    if (o->streams > session->contexts) throw Failure(TRTACT_TRT_INVALID, "more streams than contexts");
    for (int32_t i = 0; i < o->warm_up; ++i) wait(*session);
    session->samples.clear();
    std::vector<std::vector<trtact_trt_sample>> streams(static_cast<size_t>(o->streams));
    std::vector<double> now(streams.size(), 0);
    double wall = 0;
    for (int64_t n = 0; n < o->max_samples; ++n) {
      const size_t k = static_cast<size_t>(n) % streams.size();
      if (n >= o->iterations && now[k] >= o->milliseconds) break;
      wait(*session);
      trtact_trt_sample s{};
      s.start = now[k];
      s.enqueue = o->graph ? 0.0625 : 0.25;
      s.h2d = s.d2h = o->no_transfers ? 0 : 0.125;
      s.gpu = session->engine.gpu * (1 + 0.01 * static_cast<double>(n % 5));
      s.end_to_end = s.h2d + s.gpu + s.d2h;
      now[k] += s.end_to_end;
      wall = now[k] > wall ? now[k] : wall;
      streams[k].push_back(s);
    }
    for (const auto& list : streams) session->samples.insert(session->samples.end(), list.begin(), list.end());
    out->samples = session->samples.data();
    out->count = static_cast<int64_t>(session->samples.size());
    out->wall = wall;
    out->graphed = o->graph;
    out->note = "";
  });
}

int32_t profile(trtact_trt_session* session, int32_t, const trtact_trt_layer_time** out, int32_t* count, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    *out = nullptr, *count = 0;
    if (!session->layers) throw Failure(TRTACT_TRT_INVALID, "the session was opened without layers to profile");
    session->times.clear();
    for (const standin::Layer& l : session->engine.layers) session->times.push_back({l.name.c_str(), l.milliseconds});
    *out = session->times.data(), *count = static_cast<int32_t>(session->times.size());
  });
}

int32_t inspect(trtact_trt_session* session, const char** json, trtact_trt_error* error) {
  return trtact::border(error, [&] {
    session->inspection = "{\"Layers\": []}";
    *json = session->inspection.c_str();
  });
}

const trtact_trt_runtime_api runtime_table = {
    sizeof(trtact_trt_runtime_api), session_open, session_close, io_count, io, memory, device_bytes, run, time, profile, inspect,
};

int64_t live() { return live_handles; }

// By name, so that functions which the stand-in has no use for stay NULL.
trtact_trt_api make_table() {
  trtact_trt_api t{};
  t.abi = TRTACT_TRT_ABI;
  t.table_size = sizeof t;
  t.family = "standin";
  t.name = "stand-in";
  t.headers[0] = 1;
  t.features = TRTACT_TRT_WEAK_TYPES;
  t.library_open = library_open;
  t.library_close = library_close;
  t.library_version = library_version;
  t.library_path = library_path;
  t.probe = probe;
  t.build = build;
  t.engine_release = engine_release;
  t.engine_data = engine_data;
  t.engine_timings = engine_timings;
  t.engine_io_count = engine_io_count;
  t.engine_io = engine_io;
  t.engine_layer_count = engine_layer_count;
  t.engine_layer = engine_layer;
  t.engine_inspect = engine_inspect;
  t.live = live;
  t.runtime = &runtime_table;
  return t;
}
const trtact_trt_api table = make_table();

} // namespace

const trtact_trt_api* trtact_trt_open(uint32_t abi) { return abi == TRTACT_TRT_ABI ? &table : nullptr; }
