// Observers: what calibration wants to know of a tensor on the device.
#pragma once

#include "op.h"

namespace trtact::cuda {

float absmax(Lane&, const trtact_tensor&, const float* x);
// Adds |x| to n equal bins over [0, upper]; what is above goes to the last.
void histogram(Lane&, const trtact_tensor&, const float* x, float upper, int64_t* bins, int n);
void channel_sums(Lane&, const trtact_tensor&, const float* x, double* sums);

}  // namespace trtact::cuda
