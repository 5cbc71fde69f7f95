#include "memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>

namespace trtact::emulated {
namespace {

constexpr size_t kUnit = 512;    // of addresses, as cudaMalloc's
constexpr size_t kBehind = 256;  // watched bytes behind an allocation
constexpr unsigned char kWatched = 0xa5;

struct Range {
  char* base;
  int open = 0;
  std::map<size_t, size_t> taken; // offset -> bytes asked for
  size_t sum = 0, top = 0;

  Range() {
    void* p = mmap(nullptr, kDeviceMemory, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) abort();
    base = static_cast<char*>(p);
  }
};

Range& range() {
  static Range* r = new Range; // lives as long as the process: device pointers may outlive statics
  return *r;
}

size_t room(size_t bytes) { return (bytes + kBehind + kUnit - 1) / kUnit * kUnit; }

void protect(int rights) {
  Range& r = range();
  if (r.top && mprotect(r.base, r.top, rights)) abort();
}

}  // namespace

Access::Access() {
  if (range().open++ == 0) protect(PROT_READ | PROT_WRITE);
}
Access::~Access() {
  if (--range().open == 0) protect(PROT_NONE);
}

void* allocate(size_t bytes) {
  Range& r = range();
  size_t at = 0;
  for (const auto& [offset, size] : r.taken) { // the first gap that is large enough
    if (at + room(bytes) <= offset) break;
    at = offset + room(size);
  }
  if (at + room(bytes) > kDeviceMemory || r.sum + bytes > kDeviceMemory) return nullptr;
  r.taken[at] = bytes;
  r.sum += bytes;
  const size_t page = 4096, end = (at + room(bytes) + page - 1) / page * page;
  if (end > r.top) {
    if (r.open && mprotect(r.base + r.top, end - r.top, PROT_READ | PROT_WRITE)) abort();
    r.top = end;
  }
  const Access access;
  memset(r.base + at, 0xff, bytes); // NaN
  memset(r.base + at + bytes, kWatched, room(bytes) - bytes);
  return r.base + at;
}

bool release(void* p) {
  Range& r = range();
  const auto it = r.taken.find(static_cast<size_t>(static_cast<char*>(p) - r.base));
  if (!on_device(p) || it == r.taken.end()) return false;
  {
    const Access access;
    const char* behind = static_cast<char*>(p) + it->second;
    for (size_t i = 0; i < room(it->second) - it->second; i++)
      if (static_cast<unsigned char>(behind[i]) != kWatched) {
        fprintf(stderr, "emulated CUDA: something was written %zu bytes behind an allocation of %zu\n", i, it->second);
        abort();
      }
  }
  r.sum -= it->second;
  r.taken.erase(it);
  if (r.taken.empty()) { // give the pages back
    madvise(r.base, r.top, MADV_DONTNEED);
    r.top = 0;
  }
  return true;
}

size_t allocated() { return range().sum; }

bool on_device(const void* p, size_t bytes) {
  const char* c = static_cast<const char*>(p);
  return c >= range().base && c + bytes <= range().base + kDeviceMemory;
}

}  // namespace trtact::emulated
