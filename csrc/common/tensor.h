// What the backends share about tensors and parameters on the host: sizes, checks,
// and the description of an operator with its parameters typed.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "trtact/compute.h"

namespace trtact {

inline int64_t elements(const trtact_tensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.rank; i++) n *= t.dims[i];
  return n;
}

inline bool same_dims(const trtact_tensor& a, const trtact_tensor& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; i++)
    if (a.dims[i] != b.dims[i]) return false;
  return true;
}

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }
inline void require(bool condition, const char* what) {
  if (!condition) fail(what);
}

inline void require_same(const trtact_tensor& a, const trtact_tensor& b, const char* what) {
  require(same_dims(a, b) && a.layout == b.layout, what);
}

// What windows are divided by.
inline void require_window(int spatial, const int64_t* kernel, const int64_t* stride,
                           const int64_t* dilation) {
  require(spatial >= 1 && spatial <= TRTACT_MAX_SPATIAL, "window: 1 to 3 spatial dimensions");
  for (int i = 0; i < spatial; i++)
    require(kernel[i] > 0 && stride[i] > 0 && dilation[i] > 0,
            "window: kernel, stride and dilation must be positive");
}

// Loops and libraries may rely on this: every size is positive and no product of
// them overflows.
inline void check_tensor(const trtact_tensor& t) {
  constexpr int64_t kMost = int64_t{1} << 40;
  require(t.rank >= 0 && t.rank <= TRTACT_MAX_RANK, "tensor of a wrong rank");
  require(t.layout == TRTACT_PLAIN || (t.layout == TRTACT_BLOCKED && t.rank >= 3 && t.rank <= 5),
          "tensor of a layout that its rank does not have");
  int64_t n = 1;
  for (int i = 0; i < t.rank; i++) {
    require(t.dims[i] > 0, "tensor without elements");
    require(t.dims[i] <= kMost / n, "tensor of too many elements");
    n *= t.dims[i];
  }
}

// An op's description with the parameters checked and typed.
struct Description {
  const trtact_op_desc& raw;

  const trtact_tensor& in(int i) const {
    require(i < raw.n_inputs, "operator has too few inputs");
    return raw.inputs[i];
  }
  const trtact_tensor& out(int i) const {
    require(i < raw.n_outputs, "operator has too few outputs");
    return raw.outputs[i];
  }
  const float* constant(int i) const {
    return raw.constants && i < raw.n_inputs ? raw.constants[i] : nullptr;
  }
  template <class P>
  const P& params() const {
    require(raw.params && raw.params_size == sizeof(P),
            "operator parameters have the wrong size: header and library differ");
    return *static_cast<const P*>(raw.params);
  }
};

// Runs f; an exception becomes a status and one line of text.
template <class F>
int32_t guarded(trtact_error* error, const F& f) {
  try {
    f();
    return 0;
  } catch (const std::bad_alloc&) {
    std::strncpy(error->text, "out of memory", sizeof error->text - 1);
  } catch (const std::exception& e) {
    std::strncpy(error->text, e.what(), sizeof error->text - 1);
  } catch (...) {
    std::strncpy(error->text, "unknown exception", sizeof error->text - 1);
  }
  error->text[sizeof error->text - 1] = 0;
  return 1;
}

}  // namespace trtact
