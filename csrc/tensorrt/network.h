// What a parsed network holds, as plain data: inputs, outputs, layers.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "family.h"
#include "trtact/tensorrt.h"

namespace trtact {

struct Description {
  std::vector<trtact_trt_io> io; // inputs, then outputs
  std::vector<trtact_trt_layer> layers;
  std::deque<std::string> names; // owns the strings that io and layers point to
};

Description describe(nvinfer1::INetworkDefinition& network);

// The network has QuantizeLinear nodes, so its INT8 types are explicit.
bool has_quantize(const nvinfer1::INetworkDefinition& network);

// Throws Failure when rank exceeds TensorRT's.
nvinfer1::Dims to_dims(const trtact_trt_dims& dims);

} // namespace trtact
