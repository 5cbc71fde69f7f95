// The half of the table that runs engines: see trtact/tensorrt.h.
#include "failure.h"
#include "handles.h"
#include "session.h"

struct trtact_trt_session : private trtact::Counted {
  trtact_trt_session(const trtact::Library& library, const trtact_trt_session_options& o) : loaded(library, o) {}
  trtact::Session loaded;
};

namespace trtact {
namespace {

int32_t open(trtact_trt_library* library, const trtact_trt_session_options* options,
             trtact_trt_session** out, trtact_trt_error* error) {
  return border(error, [&] {
    *out = nullptr;
    *out = new trtact_trt_session(library->opened, *options);
  });
}

void close(trtact_trt_session* session) { delete session; }

int32_t io_count(const trtact_trt_session* session) {
  return static_cast<int32_t>(session->loaded.tensors().size());
}

void io(const trtact_trt_session* session, int32_t i, trtact_trt_io* out) {
  const Tensor& t = session->loaded.tensors()[static_cast<size_t>(i)];
  *out = {t.name.c_str(), t.input, t.type, t.dims};
}

void* memory(trtact_trt_session* session, int32_t i, size_t* bytes) {
  return session->loaded.memory(static_cast<size_t>(i), *bytes);
}

uint64_t device_bytes(const trtact_trt_session* session) { return session->loaded.device_bytes(); }

int32_t run(trtact_trt_session* session, trtact_trt_error* error) {
  return border(error, [&] { session->loaded.run(); });
}

int32_t time(trtact_trt_session* session, const trtact_trt_time_options* options, trtact_trt_block* out,
             trtact_trt_error* error) {
  return border(error, [&] {
    *out = {};
    *out = session->loaded.time(*options);
  });
}

int32_t profile(trtact_trt_session* session, int32_t iterations, const trtact_trt_layer_time** out,
                int32_t* count, trtact_trt_error* error) {
  return border(error, [&] {
    *out = nullptr, *count = 0;
    const std::vector<trtact_trt_layer_time>& times = session->loaded.profile(iterations);
    *out = times.data(), *count = static_cast<int32_t>(times.size());
  });
}

int32_t inspect(trtact_trt_session* session, const char** json, trtact_trt_error* error) {
  return border(error, [&] {
    *json = nullptr;
    *json = session->loaded.inspect().c_str();
  });
}

} // namespace

const trtact_trt_runtime_api runtime_table = {
    sizeof(trtact_trt_runtime_api), open, close, io_count, io, memory, device_bytes, run, time, profile, inspect,
};

} // namespace trtact
