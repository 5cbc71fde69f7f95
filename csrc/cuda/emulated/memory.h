// The memory of the emulated device: one range of addresses that can be touched only
// while something of the device runs.
#pragma once

#include <cstddef>

namespace trtact::emulated {

constexpr size_t kDeviceMemory = size_t{8} << 30;

// nullptr when there is not so much left.
void* allocate(size_t bytes);
// False when p is no allocation. Ends the program when the allocation was overrun.
bool release(void* p);
size_t allocated();
// Whether [p, p + bytes) lies in device memory.
bool on_device(const void* p, size_t bytes = 1);

// Device memory can be touched while one of these lives.
class Access {
 public:
  Access();
  ~Access();
  Access(const Access&) = delete;
};

}  // namespace trtact::emulated
