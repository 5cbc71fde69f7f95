// What every operator of the CUDA backend is made of.
//
// Layout: the block of this backend is 1, with which BLOCKED and PLAIN are the same
// bytes. Operators look at sizes only, and nn never asks such a device for a reorder.
//
// An operator puts kernels on its lane's stream and returns; it never waits, copies
// from or to the host, or allocates, for its launches may be part of a graph that is
// captured (graph.h). What it needs beside its tensors is workspace, or Memory made
// with it. Nothing may follow a device pointer on the host.
//
// To add an operator: one file here (or a few lines in the file of its family) and a
// line in ../common/operators.h; the scalar mathematics goes to csrc/kernels. Tests run it on the
// emulated device (emulated/runtime.h) against the CPU backend.
#pragma once

#include <memory>
#include <optional>

#include "device.h"

namespace trtact::cuda {

// A tensor seen as [n][c][space].
struct View {
  int64_t n = 1, c = 1, space = 1;

  View() = default;
  explicit View(const trtact_tensor& t) {
    if (t.rank > 0) n = t.dims[0];
    if (t.rank > 1) c = t.dims[1];
    for (int i = 2; i < t.rank; i++) space *= t.dims[i];
  }
  int64_t size() const { return n * c * space; }
};

// The addresses of one run, on the device.
struct Args {
  const float* const* in;
  float* const* out;
  char* workspace;
  Lane& lane;
};

class Op {
 public:
  virtual ~Op() = default;
  virtual void run(const Args& args) const = 0;
  size_t workspace_bytes = 0;
  std::string info;
  int inputs = 0, outputs = 0; // set by op_create
};

struct Desc : Description {
  Device& device;
};

using Factory = std::unique_ptr<Op> (*)(const Desc&);
Factory find_factory(int32_t kind); // nullptr when unknown

// A constant input kept on the device by the op, or the address given at each run.
class Input {
 public:
  Input() = default;
  Input(const Desc& d, int i) : i_(i) {
    if (const float* c = d.constant(i)) kept_ = Memory(c, static_cast<size_t>(elements(d.in(i))) * sizeof(float));
  }
  const float* of(const Args& args) const { return kept_ ? kept_.get() : args.in[i_]; }

 private:
  int i_ = 0;
  Memory kept_;
};

}  // namespace trtact::cuda
