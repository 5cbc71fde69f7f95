// Observers: what calibration wants to know of a tensor, in one pass over it.
#pragma once

#include "op.h"

namespace trtact::cpu {

float absmax(const trtact_tensor& t, const float* x);
void histogram(const trtact_tensor& t, const float* x, float upper, int64_t* bins, int n);
void channel_sums(const trtact_tensor& t, const float* x, double* sums);

}  // namespace trtact::cpu
