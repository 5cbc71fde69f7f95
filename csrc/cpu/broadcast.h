// Broadcasting of two operands: of row-major ones in common/broadcast.h; here, what
// an operand has beside each plane of a blocked tensor.
#pragma once

#include "../common/broadcast.h"
#include "op.h"

namespace trtact::cpu {

// What an operand of a blocked tensor is: of full size, one value for each (n,
// channel), or one value.
enum Operand { kFull, kChannel, kScalar };

inline Operand operand_mode(const trtact_tensor& t, const trtact_tensor& out) {
  if (elements(t) == 1) return kScalar;
  require(t.layout == TRTACT_BLOCKED && t.rank == out.rank, "binary: layouts differ");
  if (same_dims(t, out)) return kFull;
  require(t.dims[0] == out.dims[0] && t.dims[1] == out.dims[1] && View(t).space == 1,
          "binary: a blocked operand must be of full size or one value per channel");
  return kChannel;
}

// The operand's part for plane nb of size elements.
inline const float* operand(const float* p, Operand mode, int64_t nb, int64_t size) {
  return mode == kFull ? p + nb * size : mode == kChannel ? p + nb * kBlock : p;
}

}  // namespace trtact::cpu
