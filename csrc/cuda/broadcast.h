// Broadcasting of two operands inside a kernel.
#pragma once

#include "../common/broadcast.h"
#include "../kernels/host_device.h"

namespace trtact::cuda {

// Where the operands of element i lie.
struct Broadcast {
  int32_t rank = 0;
  uint32_t dims[TRTACT_MAX_RANK], a[TRTACT_MAX_RANK], b[TRTACT_MAX_RANK];

  Broadcast(const trtact_tensor& x, const trtact_tensor& y, const trtact_tensor& out) {
    const Loops loops = plain_loops(x, y, out);
    rank = static_cast<int32_t>(loops.dims.size());
    for (int i = 0; i < rank; i++) {
      dims[i] = static_cast<uint32_t>(loops.dims[i]);
      a[i] = static_cast<uint32_t>(loops.a[i]);
      b[i] = static_cast<uint32_t>(loops.b[i]);
    }
  }
  TRTACT_HD void place(uint32_t i, uint32_t* at_a, uint32_t* at_b) const {
    *at_a = *at_b = 0;
    for (int32_t k = rank - 1; k > 0; k--) {
      const uint32_t at = i % dims[k];
      i /= dims[k];
      *at_a += at * a[k];
      *at_b += at * b[k];
    }
    *at_a += i * a[0];
    *at_b += i * b[0];
  }
};

}  // namespace trtact::cuda
