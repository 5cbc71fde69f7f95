// One convolution's geometry and its three passes by cuDNN: y from x, dx from dy, dw
// from x and dy. A transposed convolution is the second of these, its gradients the
// other two.
//
// cuDNN pads both ends alike and knows no output that leaves a part of its input out.
// Where that does not fit, x is copied into a padded one in the workspace, or dx cut out
// of one. The algorithms are those that sum in single precision in a fixed order:
// integers stay exact, and every run gives the same bits.
//
// Whole numbers of 8 bits are exact in TF32 (11 bits), their products in the single
// precision that tensor cores add in; so a convolution of integers may use them and
// gives what it gives without. Others do when the device is told to (Device::tf32).
#pragma once

#include "op.h"

namespace trtact::cuda {

class Convolution {
 public:
  // The convolution from x to y with weights w, [O][C/groups][k...].
  Convolution(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& w, const trtact_tensor& y,
              bool forward, bool data, bool filter, Device&);

  void forward(Lane&, const float* x, const float* w, float* y, char* workspace) const;
  void data(Lane&, const float* dy, const float* w, float* dx, char* workspace) const;
  void filter(Lane&, const float* x, const float* dy, float* dw, char* workspace) const;
  // Enough for each pass that was asked for.
  size_t workspace_bytes() const { return padded_bytes_ + dnn_bytes_; }
  const std::string& info() const { return info_; }

 private:
  template <class T>
  class Descriptor {
   public:
    Descriptor(int (*create)(T*), int (*destroy)(T)) : destroy_(destroy) { check_dnn(create(&d_), "a cuDNN descriptor"); }
    ~Descriptor() { destroy_(d_); }
    Descriptor(const Descriptor&) = delete;
    T get() const { return d_; }

   private:
    T d_ = nullptr;
    int (*destroy_)(T);
  };

  struct Axes { // three of them, the last one innermost
    int64_t x[3], padded[3], begin[3];
  };
  const float* pad(Lane&, const float* x, char* workspace) const;

  Axes axes_;
  int64_t planes_;      // of x: n * c
  bool padded_ = false; // x or dx goes through the workspace
  size_t padded_bytes_ = 0, dnn_bytes_ = 0;
  int forward_algorithm_ = 0, data_algorithm_ = 0, filter_algorithm_ = 0;
  std::string info_;
  Descriptor<cudnnTensorDescriptor_t> x_, y_;
  Descriptor<cudnnFilterDescriptor_t> w_;
  Descriptor<cudnnConvolutionDescriptor_t> conv_;
};

}  // namespace trtact::cuda
