// What the oneDNN operators share: one engine, memory descriptors for our
// layouts, and execution with the caller's workspace as scratchpad (so that
// several threads can run one primitive at once).
#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "op.h"

namespace trtact::cpu {

using Tag = dnnl::memory::format_tag;
using Arguments = std::unordered_map<int, dnnl::memory>;

const dnnl::engine& engine();
// A stream is cheap but not free, and belongs to one thread.
dnnl::stream& thread_stream();

dnnl::memory::dims dims_of(const trtact_tensor& t);
// plain: a, ab, abc ...; blocked: aBc8b and its like
Tag plain_tag(int rank);
Tag blocked_tag(int rank);
dnnl::memory::desc desc_of(const trtact_tensor& t);
dnnl::memory::desc desc_any(const dnnl::memory::dims& dims);

inline dnnl::memory bind(const dnnl::memory::desc& md, const void* p) {
  return dnnl::memory(md, engine(), const_cast<void*>(p));
}

// Bytes rounded up so that parts of a workspace stay aligned.
inline size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Memory that lives as long as an op: prepacked constants.
class Packed {
 public:
  void allocate(size_t bytes);
  float* data() const { return data_.get(); }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  std::unique_ptr<float, Free> data_;
};

// One reorder with its primitive made once.
class Reordering {
 public:
  Reordering() = default;
  Reordering(const dnnl::memory::desc& from, const dnnl::memory::desc& to);
  explicit operator bool() const { return static_cast<bool>(primitive_); }
  void run(const void* from, void* to, void* scratch) const;
  size_t scratch_bytes() const { return scratch_.get_size(); }

 private:
  dnnl::memory::desc from_, to_, scratch_;
  dnnl::reorder primitive_;
};

}  // namespace trtact::cpu
