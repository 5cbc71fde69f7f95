#include "engine.h"

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <unistd.h>

#include "failure.h"

namespace standin {
namespace {

using trtact::Failure;

[[noreturn]] void refuse(const std::string& text) {
  throw Failure(TRTACT_TRT_BAD_MODEL, "stand-in does not load the engine: " + text);
}

int32_t type_of(const std::string& name) {
  static const std::map<std::string, int32_t> types = {
      {"fp32", TRTACT_TRT_FLOAT32}, {"fp16", TRTACT_TRT_FLOAT16}, {"int8", TRTACT_TRT_INT8},
      {"int32", TRTACT_TRT_INT32},  {"bool", TRTACT_TRT_BOOL},    {"uint8", TRTACT_TRT_UINT8},
      {"int64", TRTACT_TRT_INT64}};
  const auto found = types.find(name);
  if (found == types.end()) refuse("unknown type " + name);
  return found->second;
}

// Reads "1x3x8x8"; n becomes -1, d8 becomes -1 with most 8.
trtact_trt_dims sizes_of(const std::string& text, int64_t& most) {
  trtact_trt_dims dims{};
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, 'x');) {
    if (dims.rank == TRTACT_TRT_MAX_RANK) refuse("too many sizes in " + text);
    int64_t n = -1;
    if (part[0] == 'd') {
      most = std::atoll(part.c_str() + 1);
    } else if (part != "n") {
      n = std::atoll(part.c_str());
    }
    dims.size[dims.rank++] = n;
  }
  return dims;
}

float from_half(uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 0x3ff;
  float v = exponent == 0 ? static_cast<float>(mantissa) / 16777216.0f
                          : std::ldexp(1.0f + static_cast<float>(mantissa) / 1024.0f, exponent - 15);
  return (h & 0x8000) != 0 ? -v : v;
}

// Numbers that a half holds exactly are all that tests use.
uint16_t to_half(double v) {
  if (v == 0) return 0;
  int exponent = 0;
  const double fraction = std::frexp(std::abs(v), &exponent);
  return static_cast<uint16_t>((v < 0 ? 0x8000 : 0) | (((exponent + 13) << 10) + static_cast<int>(std::lrint(fraction * 2048))));
}

template <typename T>
T get(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <typename T>
void put(uint8_t* p, double v) {
  const T t = static_cast<T>(v);
  std::memcpy(p, &t, sizeof t);
}

double element(const Tensor& t, size_t i) {
  const uint8_t* p = t.memory.data() + i * element_bytes(t.type);
  switch (t.type) {
    case TRTACT_TRT_FLOAT32: return get<float>(p);
    case TRTACT_TRT_FLOAT16: return from_half(get<uint16_t>(p));
    case TRTACT_TRT_INT8: return get<int8_t>(p);
    case TRTACT_TRT_INT32: return get<int32_t>(p);
    case TRTACT_TRT_INT64: return static_cast<double>(get<int64_t>(p));
    default: return *p;
  }
}

void set_element(Tensor& t, size_t i, double v) {
  uint8_t* p = t.memory.data() + i * element_bytes(t.type);
  switch (t.type) {
    case TRTACT_TRT_FLOAT32: return put<float>(p, v);
    case TRTACT_TRT_FLOAT16: {
      const uint16_t h = to_half(v);
      std::memcpy(p, &h, sizeof h);
      return;
    }
    case TRTACT_TRT_INT8: return put<int8_t>(p, v);
    case TRTACT_TRT_INT32: return put<int32_t>(p, v);
    case TRTACT_TRT_INT64: return put<int64_t>(p, v);
    default: *p = static_cast<uint8_t>(v);
  }
}

} // namespace

size_t element_bytes(int32_t type) {
  switch (type) {
    case TRTACT_TRT_FLOAT32:
    case TRTACT_TRT_INT32: return 4;
    case TRTACT_TRT_FLOAT16: return 2;
    case TRTACT_TRT_INT64: return 8;
    default: return 1;
  }
}

int64_t volume(const trtact_trt_dims& dims) {
  int64_t n = 1;
  for (int32_t i = 0; i < dims.rank; ++i) n *= dims.size[i];
  return n;
}

Engine read(const void* data, size_t bytes, const char* first_word) {
  std::istringstream lines(std::string(static_cast<const char*>(data), bytes));
  std::string line;
  if (!std::getline(lines, line) || line != first_word) refuse(std::string("it does not begin with \"") + first_word + "\"");
  Engine e;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string word, name, type, sizes;
    words >> word;
    if (word.empty()) continue;
    if (word == "version") {
      words >> e.version;
    } else if (word == "input" || word == "output") {
      Tensor t;
      words >> t.name >> type >> sizes;
      t.input = word == "input";
      t.type = type_of(type);
      t.opt = t.min = t.max = t.declared = sizes_of(sizes, t.most);
      std::string min, max;
      if (words >> min >> max) {
        t.min = sizes_of(min, t.most), t.max = sizes_of(max, t.most);
        for (int32_t i = 0; i < t.opt.rank; ++i) {
          if (t.min.size[i] != t.max.size[i]) t.declared.size[i] = -1;
        }
      }
      e.tensors.push_back(t);
    } else if (word == "values") {
      words >> name;
      for (Tensor& t : e.tensors) {
        for (double v; t.name == name && words >> v;) t.values.push_back(v);
      }
    } else if (word == "layer") {
      Layer l;
      words >> l.milliseconds;
      std::getline(words >> std::ws, l.name);
      e.layers.push_back(l);
    } else if (word == "gpu") {
      words >> e.gpu;
    } else if (word == "sleep") {
      words >> e.sleep;
    } else if (word == "fail") {
      std::string when, how;
      words >> when >> how;
      e.failures[when] = how;
    } else {
      refuse("unknown line " + line);
    }
  }
  if (e.tensors.empty()) refuse("it has no inputs or outputs");
  return e;
}

void Engine::reach(const std::string& when) const {
  const auto found = failures.find(when);
  if (found == failures.end()) return;
  const std::string& how = found->second;
  if (how == "crash") std::raise(SIGSEGV);
  if (how == "abort") std::abort();
  if (how == "kill") std::raise(SIGKILL);
  if (how == "exit") std::exit(3);
  while (how == "hang") pause();
  if (how == "memory") throw Failure(TRTACT_TRT_FAILED, "out of device memory: allocate 99999999999 bytes for tensor 'x': stand-in has no more");
  throw Failure(TRTACT_TRT_FAILED, "stand-in cannot " + when);
}

void compute(std::vector<Tensor>& tensors) {
  double sum = 0, count = 0;
  for (const Tensor& t : tensors) {
    if (!t.input) continue;
    const auto n = static_cast<size_t>(volume(t.dims));
    for (size_t i = 0; i < n; ++i) sum += element(t, i);
    count += static_cast<double>(n);
  }
  const double mean = count > 0 ? sum / count : 0;
  for (Tensor& t : tensors) {
    if (t.input) continue;
    const auto n = static_cast<size_t>(volume(t.dims));
    for (size_t i = 0; i < n; ++i) {
      set_element(t, i, t.values.empty() ? mean * static_cast<double>(i + 1) : t.values[i % t.values.size()]);
    }
  }
}

} // namespace standin
