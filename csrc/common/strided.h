// One strided copy between row-major tensors, checked and with as few dimensions as
// it needs.
#pragma once

#include "tensor.h"

namespace trtact {

// part with dimensions of 1 left out and those merged that lie together on both
// sides; at least one dimension. False when there is nothing to copy.
inline bool merge_part(const trtact_copy_part& part, const trtact_tensor& in, const trtact_tensor& out,
                       trtact_copy_part* merged) {
  require(part.rank >= 0 && part.rank <= TRTACT_MAX_RANK, "copy: a part is malformed");
  *merged = part;
  int& r = merged->rank;
  r = 0;
  int64_t in_low = part.in_offset, in_high = part.in_offset;
  int64_t out_low = part.out_offset, out_high = part.out_offset;
  for (int i = 0; i < part.rank; i++) {
    const int64_t n = part.dims[i];
    if (n == 0) return false;
    (part.in_stride[i] < 0 ? in_low : in_high) += (n - 1) * part.in_stride[i];
    (part.out_stride[i] < 0 ? out_low : out_high) += (n - 1) * part.out_stride[i];
    if (n == 1) continue;
    if (r > 0 && merged->in_stride[r - 1] == part.in_stride[i] * n &&
        merged->out_stride[r - 1] == part.out_stride[i] * n) {
      merged->dims[r - 1] *= n;
    } else {
      merged->dims[r++] = n;
    }
    merged->in_stride[r - 1] = part.in_stride[i];
    merged->out_stride[r - 1] = part.out_stride[i];
  }
  require(in_low >= 0 && in_high < elements(in), "copy: reads outside its input");
  require(out_low >= 0 && out_high < elements(out), "copy: writes outside its output");
  if (r == 0) {
    r = 1;
    merged->dims[0] = 1;
    merged->in_stride[0] = merged->out_stride[0] = 1;
  }
  return true;
}

}  // namespace trtact
