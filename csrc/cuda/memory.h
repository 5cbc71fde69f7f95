// Device memory that lives as long as what owns it: constants of an operator.
#pragma once

#include <utility>
#include <vector>

#include "error.h"

namespace trtact::cuda {

constexpr size_t kAlignment = 256; // of parts of a workspace
inline size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes); // not zeroed
  Memory(const void* host, size_t bytes);
  template <class T>
  explicit Memory(const std::vector<T>& host) : Memory(host.data(), host.size() * sizeof(T)) {}
  Memory(Memory&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Memory& operator=(Memory&& o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Memory();

  template <class T = float>
  T* get() const { return static_cast<T*>(p_); }
  explicit operator bool() const { return p_ != nullptr; }

 private:
  void* p_ = nullptr;
};

// cudaMalloc, whose failure says what was asked for and what is there.
void* allocate(size_t bytes);

}  // namespace trtact::cuda
