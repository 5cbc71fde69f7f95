// Sizes as TensorRT has them.
#include <type_traits>

#include "failure.h"
#include "network.h"

namespace trtact {

nvinfer1::Dims to_dims(const trtact_trt_dims& dims) {
  if (dims.rank < 0 || dims.rank > nvinfer1::Dims::MAX_DIMS || dims.rank > TRTACT_TRT_MAX_RANK) {
    throw Failure(TRTACT_TRT_INVALID, "a size with " + std::to_string(dims.rank) + " dimensions");
  }
  nvinfer1::Dims out{};
  out.nbDims = dims.rank;
  for (int32_t i = 0; i < dims.rank; ++i) {
    out.d[i] = static_cast<std::remove_reference_t<decltype(out.d[i])>>(dims.size[i]);
  }
  return out;
}

} // namespace trtact
