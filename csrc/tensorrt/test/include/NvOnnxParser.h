// A parser that is never asked for: see NvInfer.h beside this.
#pragma once
namespace nvonnxparser {
struct IParser {};
} // namespace nvonnxparser
