// One pass of a convolution, by cuDNN but for depthwise ones (depthwise.h): y from x, dx
// from dy, or dw from x and dy. A transposed convolution is the second of these, its
// gradients the other two.
//
// cuDNN pads both ends alike and knows no output that leaves a part of its input out, and
// its tensors are all of one type. Where that does not fit, x, w and y go through copies
// in the workspace (Operand). The algorithms are those that sum in single precision in a
// fixed order: integers stay exact, and every run gives the same bits.
//
// Whole numbers of 8 bits are exact in TF32 (11 bits), their products in the single
// precision that tensor cores add in; so a convolution of integers may use them and
// gives what it gives without. Others do when they are asked to (TRTACT_MATH_...).
#pragma once

#include "depthwise.h"
#include "op.h"

namespace trtact::cuda {

// x, w or y as cuDNN takes it: where it lies, or a copy in the workspace that is cut or
// padded, of BF16, or both.
class Operand {
 public:
  // Boxes within boxes: the copy's places are the tensor's, shifted by begin.
  struct Box {
    int64_t planes, tensor[3], copy[3], begin[3];
  };
  // The copy lies at the end of what the workspace has been until then.
  Operand(const Box&, bool bf16, size_t* workspace);

  // What cuDNN reads, made on the lane's stream where it is a copy.
  const void* read(Lane&, const float* tensor, char* workspace) const;
  // Where cuDNN writes; finish() brings it to the tensor.
  void* write(float* tensor, char* workspace) const { return copied() ? static_cast<void*>(workspace + at_) : tensor; }
  void finish(Lane&, float* tensor, char* workspace) const;

 private:
  bool copied() const { return bf16_ || moved_; }

  Box box_;
  bool bf16_, moved_ = false;
  size_t at_ = 0;
  int64_t size_, copy_size_; // elements
};

class Convolution {
 public:
  enum Pass { kForward, kData, kWeights };

  // The pass of the convolution from x to y with weights w, [O][C/groups][k...], in math
  // (TRTACT_MATH_...) or what is next to it: in BF16 cuDNN rounds results too, and it has
  // not all forms.
  Convolution(Device&, const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& w, const trtact_tensor& y,
              Pass pass, int32_t math);

  // The one that the pass is.
  void forward(Lane&, const float* x, const float* w, float* y, char* workspace) const;
  void data(Lane&, const float* dy, const float* w, float* dx, char* workspace) const;
  void weights(Lane&, const float* x, const float* dy, float* dw, char* workspace) const;
  size_t workspace_bytes() const { return copies_bytes_ + dnn_bytes_; }
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
  int choose(Pass, Device&);

  std::optional<Depthwise> depthwise_;
  size_t copies_bytes_ = 0, dnn_bytes_ = 0;
  std::optional<Operand> x_, w_, y_;
  int algorithm_ = 0;
  std::string info_;
  Descriptor<cudnnTensorDescriptor_t> x_desc_, y_desc_;
  Descriptor<cudnnFilterDescriptor_t> w_desc_;
  Descriptor<cudnnConvolutionDescriptor_t> conv_;
};

}  // namespace trtact::cuda
