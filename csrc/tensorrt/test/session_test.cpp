// Runs what is behind the runtime half of tensorrt.h (session, execution, timing,
// driver) over a TensorRT and a driver that do next to nothing.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include "../failure.h"
#include "../handles.h"
#include "fake.h"

namespace {

int failures = 0;

void check(bool good, const char* what, int line) {
  if (good) return;
  std::printf("session_test.cpp:%d: %s\n", line, what);
  ++failures;
}
#define CHECK(condition) check(condition, #condition, __LINE__)

const trtact_trt_runtime_api& api = trtact::runtime_table;
constexpr bool named = FAKE_TENSORRT_MINOR >= 5;

long alive() { return fake::symbol<long()>("fake_alive")(); }

// An open session, or the error of opening it.
struct Opened {
  explicit Opened(const std::function<void(trtact_trt_session_options&)>& change = [](trtact_trt_session_options&) {})
      : library({}, false) {
    fake::enqueued = 0;
    fake::fail_at = -1;
    fake::capturable = true;
    trtact_trt_session_options o{};
    o.struct_size = sizeof o;
    o.engine = "engine";
    o.engine_bytes = 6;
    o.contexts = 1;
    change(o);
    status = api.open(&library, &o, &session, &error);
  }
  ~Opened() {
    if (session != nullptr) api.close(session);
    CHECK(alive() == 0);
    CHECK(fake::contexts == 0);
  }
  bool failed(int32_t want, const char* text) const {
    if (status == want && std::strstr(error.text, text) != nullptr) return true;
    std::printf("status %d, \"%s\", want %d and \"%s\"\n", status, error.text, want, text);
    return false;
  }
  template <typename T>
  T* memory(int32_t i, size_t* bytes = nullptr) {
    size_t n = 0;
    void* p = api.memory(session, i, bytes != nullptr ? bytes : &n);
    return static_cast<T*>(p);
  }
  void fill() {
    size_t bytes = 0;
    float* x = memory<float>(0, &bytes);
    for (size_t i = 0; i < bytes / 4; ++i) x[i] = static_cast<float>(i) - 3;
  }

  trtact_trt_library library;
  trtact_trt_session* session = nullptr;
  trtact_trt_error error{};
  int32_t status = 0;
};

trtact_trt_time_options time_options(int64_t iterations) {
  trtact_trt_time_options o{};
  o.struct_size = sizeof o;
  o.iterations = iterations;
  o.max_samples = 1000000;
  o.streams = 1;
  o.in_flight = 2;
  return o;
}

void test_run() {
  Opened s;
  CHECK(s.status == TRTACT_TRT_OK);
  CHECK(api.io_count(s.session) == (named ? 3 : 2));
  trtact_trt_io io{};
  api.io(s.session, 0, &io); // inputs come first
  CHECK(std::strcmp(io.name, "x") == 0 && io.is_input && io.dims.rank == 2 && io.dims.size[0] == 2);
  api.io(s.session, 1, &io);
  CHECK(std::strcmp(io.name, "y") == 0 && !io.is_input && io.dims.size[0] == 2 && io.dims.size[1] == 4);
  // x and y of 32 bytes each, and n of at most as many.
  CHECK(api.device_bytes(s.session) == (named ? 96u : 64u));
  s.fill(); // -3 to 4
  CHECK(api.run(s.session, &s.error) == TRTACT_TRT_OK);
  for (int i = 0; i < 8; ++i) CHECK(s.memory<float>(1)[i] == 2.0f * static_cast<float>(i - 3));
  if (named) {
    api.io(s.session, 2, &io);
    CHECK(io.type == TRTACT_TRT_INT32 && io.dims.rank == 1 && io.dims.size[0] == 4);
    CHECK(s.memory<int32_t>(2)[3] == 1);
  }
}

void test_shapes() {
  trtact_trt_shape shape{"x", {2, {8, 4}}};
  const auto with_shape = [&](trtact_trt_session_options& o) { o.shapes = &shape, o.n_shapes = 1; };
  {
    Opened s(with_shape);
    size_t bytes = 0;
    s.memory<float>(1, &bytes);
    CHECK(s.status == TRTACT_TRT_OK && bytes == 8 * 4 * 4);
  }
  shape.dims.size[0] = 9;
  CHECK(Opened(with_shape).failed(TRTACT_TRT_INVALID, "input 'x' cannot be 9x4: the engine was built for 1x4 to 8x4"));
  shape.dims.rank = 1;
  CHECK(Opened(with_shape).failed(TRTACT_TRT_INVALID, "cannot be 9: "));
  shape.input = "y";
  CHECK(Opened(with_shape).failed(TRTACT_TRT_INVALID, "the engine has no input 'y'"));
}

void test_refused() {
  CHECK(Opened([](auto& o) { o.engine_bytes = 3; }).failed(TRTACT_TRT_BAD_MODEL, "does not load the engine: the fake knows one engine only"));
  CHECK(Opened([](auto& o) { o.engine_bytes = 0; }).failed(TRTACT_TRT_INVALID, "the engine is empty"));
  CHECK(Opened([](auto& o) { o.struct_size = 1; }).failed(TRTACT_TRT_INVALID, "another layout"));
  CHECK(Opened([](auto& o) { o.device = 3; }).failed(TRTACT_TRT_INVALID, "no CUDA device 3"));
  CHECK(Opened([](auto& o) { o.profile = 1; }).failed(TRTACT_TRT_INVALID, "no optimisation profile 1"));
  auto& memory = *fake::symbol<std::atomic<long>>("fake_memory");
  const long before = memory;
  memory = 100; // enough for one context and not for three
  CHECK(Opened([](auto& o) { o.contexts = 3; }).failed(TRTACT_TRT_FAILED, "out of device memory: allocate 32 bytes for tensor"));
  memory = before;
}

void test_time() {
  Opened s([](auto& o) { o.contexts = 3; });
  s.fill();
  trtact_trt_block block{};
  trtact_trt_time_options o = time_options(7);
  o.warm_up = 2;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_OK);
  CHECK(block.count == 7 && !block.graphed && std::strlen(block.note) == 0 && fake::enqueued == 9 && block.wall > 0);
  for (int i = 0; i < block.count; ++i) {
    const trtact_trt_sample& t = block.samples[i];
    const double out = named ? 1.0 : 0.5; // one copy for each output
    CHECK(t.h2d == 0.5 && t.gpu == 2 && t.d2h == out && t.end_to_end == 2.5 + out);
    CHECK(t.enqueue >= 0 && t.start >= 0 && (i == 0 || t.start >= block.samples[i - 1].start));
  }
  CHECK(s.memory<float>(1)[7] == 8); // the outputs came back

  o = time_options(100);
  o.streams = 3, o.no_transfers = 1, o.spin = 1, o.in_flight = 1;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_OK);
  CHECK(block.count == 100 && block.samples[99].gpu == 2 && block.samples[99].h2d == 0 && block.samples[99].end_to_end == 2);

  o = time_options(0);
  o.milliseconds = 20;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_OK);
  CHECK(block.count > 1 && block.wall >= 20 && block.wall < 2000);
  o.max_samples = 3;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_OK && block.count == 3);

  o = time_options(1);
  o.streams = 4;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_INVALID);
  // One of several streams fails: all stop, and the session goes on.
  o = time_options(1000000);
  o.streams = 3;
  fake::enqueued = 0;
  fake::fail_at = 500;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_FAILED && std::strstr(s.error.text, "the fake has had enough") != nullptr);
  fake::fail_at = -1;
  CHECK(api.run(s.session, &s.error) == TRTACT_TRT_OK);
}

void test_graph() {
  Opened s([](auto& o) { o.contexts = 2; });
  s.fill();
  auto& launches = *fake::symbol<std::atomic<long>>("fake_launches");
  launches = 0;
  trtact_trt_block block{};
  trtact_trt_time_options o = time_options(50);
  o.streams = 2, o.graph = 1, o.warm_up = 1;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_OK);
  // Each stream: once to get ready, once captured, the rest launched.
  CHECK(block.graphed && block.count == 50 && launches == 52 && fake::enqueued == 4 && block.samples[10].gpu == 2);
  fake::capturable = false;
  CHECK(api.time(s.session, &o, &block, &s.error) == TRTACT_TRT_OK);
  CHECK(!block.graphed && block.count == 50 && std::strstr(block.note, "the fake cannot be captured") != nullptr);
  CHECK(api.run(s.session, &s.error) == TRTACT_TRT_OK); // the stream is of use again
}

void test_profile() {
  {
    Opened s;
    const trtact_trt_layer_time* list = nullptr;
    int32_t count = 0;
    CHECK(api.profile(s.session, 3, &list, &count, &s.error) == TRTACT_TRT_INVALID);
  }
  Opened s([](auto& o) { o.layers = 1; });
  const trtact_trt_layer_time* list = nullptr;
  int32_t count = 0;
  CHECK(api.profile(s.session, 3, &list, &count, &s.error) == TRTACT_TRT_OK);
  CHECK(count == 3 && std::strcmp(list[1].name, "double") == 0);
  CHECK(list[0].milliseconds == 0.5 && list[1].milliseconds == 1 && list[2].milliseconds == 0.25);
  const char* json = nullptr;
  CHECK(api.inspect(s.session, &json, &s.error) == TRTACT_TRT_OK && std::strstr(json, "double") != nullptr);
}

} // namespace

int main() {
  test_run();
  test_shapes();
  test_refused();
  test_time();
  test_graph();
  test_profile();
  if (trtact::live_handles != 0) ++failures;
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
