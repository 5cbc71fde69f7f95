#include "network.h"

#include <algorithm>
#include <unordered_map>

#include "failure.h"

namespace trtact {
namespace {

using nvinfer1::DataType;
using nvinfer1::ILayer;
using nvinfer1::INetworkDefinition;
using nvinfer1::ITensor;
using nvinfer1::LayerType;

using Producers = std::unordered_map<const ITensor*, ILayer*>;

const char* kind_name(LayerType type) {
  switch (type) {
    case LayerType::kCONVOLUTION: return "Convolution";
    case LayerType::kDECONVOLUTION: return "Deconvolution";
    case LayerType::kMATRIX_MULTIPLY: return "MatrixMultiply";
    case LayerType::kACTIVATION: return "Activation";
    case LayerType::kPOOLING: return "Pooling";
    case LayerType::kLRN: return "LRN";
    case LayerType::kSCALE: return "Scale";
    case LayerType::kSOFTMAX: return "SoftMax";
    case LayerType::kCONCATENATION: return "Concatenation";
    case LayerType::kELEMENTWISE: return "ElementWise";
    case LayerType::kUNARY: return "Unary";
    case LayerType::kPADDING: return "Padding";
    case LayerType::kSHUFFLE: return "Shuffle";
    case LayerType::kREDUCE: return "Reduce";
    case LayerType::kTOPK: return "TopK";
    case LayerType::kGATHER: return "Gather";
    case LayerType::kCONSTANT: return "Constant";
    case LayerType::kIDENTITY: return "Identity";
    case LayerType::kSLICE: return "Slice";
    case LayerType::kSHAPE: return "Shape";
    case LayerType::kPARAMETRIC_RELU: return "ParametricReLU";
    case LayerType::kRESIZE: return "Resize";
    case LayerType::kSELECT: return "Select";
    case LayerType::kFILL: return "Fill";
    case LayerType::kQUANTIZE: return "Quantize";
    case LayerType::kDEQUANTIZE: return "Dequantize";
    case LayerType::kSCATTER: return "Scatter";
    case LayerType::kEINSUM: return "Einsum";
#if TRTACT_FAMILY_RTX || NV_TENSORRT_MAJOR >= 10
    case LayerType::kCAST: return "Cast";
    case LayerType::kNON_ZERO: return "NonZero";
    case LayerType::kONE_HOT: return "OneHot";
    case LayerType::kGRID_SAMPLE: return "GridSample";
    case LayerType::kNMS: return "NMS";
    case LayerType::kNORMALIZATION: return "Normalization";
#endif
    default: return "Other";
  }
}

trtact_trt_dims from_dims(const nvinfer1::Dims& dims) {
  trtact_trt_dims out{};
  out.rank = std::clamp<int32_t>(dims.nbDims, -1, TRTACT_TRT_MAX_RANK);
  for (int32_t i = 0; i < out.rank; ++i) out.size[i] = dims.d[i];
  return out;
}

int64_t volume(const nvinfer1::Dims& dims) {
  int64_t n = 1;
  for (int32_t i = 0; i < dims.nbDims; ++i) n *= dims.d[i];
  return n;
}

// A layer that passes its values on: the operand behind it is what counts.
bool passes_on(LayerType type) {
  switch (type) {
    case LayerType::kQUANTIZE:
    case LayerType::kDEQUANTIZE:
    case LayerType::kIDENTITY:
    case LayerType::kSHUFFLE:
#if TRTACT_FAMILY_RTX || NV_TENSORRT_MAJOR >= 10
    case LayerType::kCAST:
#endif
      return true;
    default: return false;
  }
}

struct Operand {
  bool dequantized = false;         // comes through DequantizeLinear
  const ILayer* constant = nullptr; // or NULL
};

Operand trace(const ITensor* tensor, const Producers& producers) {
  Operand operand;
  // The chain cannot be longer than the network; the bound only stops a cycle.
  for (size_t step = 0; tensor != nullptr && step <= producers.size(); ++step) {
    const auto found = producers.find(tensor);
    if (found == producers.end()) break;
    const ILayer* layer = found->second;
    if (layer->getType() == LayerType::kCONSTANT) {
      operand.constant = layer;
      break;
    }
    if (!passes_on(layer->getType())) break;
    if (layer->getType() == LayerType::kDEQUANTIZE) operand.dequantized = true;
    tensor = layer->getInput(0);
  }
  return operand;
}

void add_weights(trtact_trt_layer& out, ILayer& layer, const Producers& producers) {
  nvinfer1::Weights inside{DataType::kFLOAT, nullptr, 0};
  bool weighted = true;
  switch (layer.getType()) {
    case LayerType::kCONVOLUTION:
      inside = static_cast<nvinfer1::IConvolutionLayer&>(layer).getKernelWeights();
      break;
    case LayerType::kDECONVOLUTION:
      inside = static_cast<nvinfer1::IDeconvolutionLayer&>(layer).getKernelWeights();
      break;
    case LayerType::kMATRIX_MULTIPLY: break;
    default: weighted = false;
  }
  if (!weighted) return;

  const int32_t operands = std::min(layer.getNbInputs(), 2);
  int32_t dequantized = 0;
  for (int32_t i = 0; i < operands; ++i) {
    const Operand operand = trace(layer.getInput(i), producers);
    dequantized += operand.dequantized ? 1 : 0;
    if (operand.constant == nullptr) continue;
    // The layer is not changed: TensorRT has no const getter for its output.
    auto* constant = const_cast<ILayer*>(operand.constant);
    out.weights = volume(constant->getOutput(0)->getDimensions());
    out.weight_type = operand.dequantized ? TRTACT_TRT_INT8
                                          : static_cast<int32_t>(layer.getInput(i)->getType());
  }
  if (inside.count > 0) {
    out.weights = inside.count;
    out.weight_type = static_cast<int32_t>(inside.type);
  }
  out.quantized = operands == 2 && dequantized == 2 ? 1 : 0;
}

} // namespace

bool has_quantize(const INetworkDefinition& network) {
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    if (network.getLayer(i)->getType() == LayerType::kQUANTIZE ||
        network.getLayer(i)->getType() == LayerType::kDEQUANTIZE) {
      return true;
    }
  }
  return false;
}

Description describe(INetworkDefinition& network) {
  Description out;
  const auto keep = [&out](const char* name) {
    return out.names.emplace_back(name != nullptr ? name : "").c_str();
  };
  const auto add_io = [&](const ITensor& tensor, bool input) {
    trtact_trt_io io{};
    io.name = keep(tensor.getName());
    io.is_input = input ? 1 : 0;
    io.type = static_cast<int32_t>(tensor.getType());
    io.dims = from_dims(tensor.getDimensions());
    out.io.push_back(io);
  };
  for (int32_t i = 0; i < network.getNbInputs(); ++i) add_io(*network.getInput(i), true);
  for (int32_t i = 0; i < network.getNbOutputs(); ++i) add_io(*network.getOutput(i), false);

  Producers producers;
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    ILayer* layer = network.getLayer(i);
    for (int32_t k = 0; k < layer->getNbOutputs(); ++k) producers[layer->getOutput(k)] = layer;
  }
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    ILayer* layer = network.getLayer(i);
    const LayerType type = layer->getType();
    // These say how others get their operands; they are no work of their own.
    if (type == LayerType::kCONSTANT || type == LayerType::kQUANTIZE ||
        type == LayerType::kDEQUANTIZE) {
      continue;
    }
    trtact_trt_layer one{};
    one.name = keep(layer->getName());
    one.kind = kind_name(type);
    if (layer->getNbOutputs() > 0) {
      one.type = static_cast<int32_t>(layer->getOutput(0)->getType());
      one.dims = from_dims(layer->getOutput(0)->getDimensions());
    }
    add_weights(one, *layer, producers);
    out.layers.push_back(one);
  }
  return out;
}

} // namespace trtact
