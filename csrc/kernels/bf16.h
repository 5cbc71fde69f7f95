// BF16: the upper half of a float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace trtact {

struct Bf16 {
  uint16_t bits;

  Bf16() = default;
  // To the nearest, ties to even; a NaN stays one.
  TRTACT_HD explicit Bf16(float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    bits = v != v ? uint16_t{0x7fc0} : static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  TRTACT_HD explicit operator float() const {
    const uint32_t u = uint32_t{bits} << 16;
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
  }
};

}  // namespace trtact
