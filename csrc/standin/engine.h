// The stand-in's engines: a text that a test writes, or that the stand-in
// "builds" from the same text as a model. Line by line:
//
//   stand-in engine              a model says "stand-in model"
//   version 1.0.0                of the stand-in that built it; not in a model
//   input NAME TYPE SIZES [MIN MAX]   SIZES as 1x3x8x8; with MIN and MAX the
//                                input is dynamic and SIZES the profile's opt
//   output NAME TYPE SIZES       n: as the first input's first size;
//                                d8: depends on the data, at most 8
//   values NAME V V ...          what this output always holds, repeated
//   layer MILLISECONDS NAME      for the profiler
//   gpu MILLISECONDS             of a run, by the clock that is made up
//   sleep MILLISECONDS           real time that a run takes
//   fail WHEN HOW                WHEN: build, load, run, time, close
//                                HOW: crash, abort, hang, exit, kill, error, memory
//
// An output without values holds mean * (i + 1) at i, where mean is that of all
// elements of all inputs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "trtact/tensorrt.h"

namespace standin {

constexpr const char* engine_word = "stand-in engine";
constexpr const char* model_word = "stand-in model";

struct Tensor {
  std::string name;
  bool input = false;
  int32_t type = 0;
  trtact_trt_dims dims{};         // of a run
  trtact_trt_dims declared{};     // -1: dynamic
  trtact_trt_dims opt{}, min{}, max{};
  int64_t most = 0;               // of the size that depends on the data, 0: none does
  std::vector<double> values;     // constant content
  std::vector<uint8_t> memory;    // of a run
};

struct Layer {
  std::string name;
  double milliseconds = 0;
};

struct Engine {
  std::string version;
  std::vector<Tensor> tensors; // inputs first
  std::vector<Layer> layers;
  double gpu = 2, sleep = 0;
  std::map<std::string, std::string> failures; // how, by when

  // Does what the engine says is to happen at this point; "error" and "memory"
  // throw Failure.
  void reach(const std::string& when) const;
};

// Throws Failure with BAD_MODEL for other texts.
Engine read(const void* data, size_t bytes, const char* first_word);

size_t element_bytes(int32_t type);
int64_t volume(const trtact_trt_dims&);

// Fills the outputs' memory from the inputs'.
void compute(std::vector<Tensor>&);

} // namespace standin
