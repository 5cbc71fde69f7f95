// Convolution and transposed convolution, by oneDNN.
//
// The tensors' layouts are ours to choose (nn keeps chains blocked), the
// weights' layout is oneDNN's: constant weights are packed once at creation,
// others at every run. Where oneDNN has only slow code for our layouts it is asked
// for its own, and the tensors are reordered in the workspace.
//
// Bias, per-channel scale, activation and quantisation are one pass of our own
// over the result (epilogue.h): measured against oneDNN's swish post-op that is
// twice as fast. Cheap activations go into oneDNN's kernel.
#include "conv_shape.h"
#include "epilogue.h"

namespace trtact::cpu {
namespace {

bool into_kernel(const trtact_activation& a) {
  switch (a.kind) {
    case TRTACT_ACT_NONE:
    case TRTACT_ACT_RELU:
    case TRTACT_ACT_LEAKY_RELU: return true;
    case TRTACT_ACT_CLIP: return a.a <= 0 && a.b >= 0; // padding lanes stay zero
  }
  return false;
}

dnnl::post_ops kernel_activation(const trtact_activation& a) {
  dnnl::post_ops ops;
  if (a.kind == TRTACT_ACT_RELU) ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
  if (a.kind == TRTACT_ACT_LEAKY_RELU)
    ops.append_eltwise(dnnl::algorithm::eltwise_relu, a.a, 0.0f);
  if (a.kind == TRTACT_ACT_CLIP) ops.append_eltwise(dnnl::algorithm::eltwise_clip, a.a, a.b);
  return ops;
}

// What forward and transposed convolution differ in.
struct Forward {
  using Primitive = dnnl::convolution_forward;
  static constexpr auto algorithm = dnnl::algorithm::convolution_direct;
};
struct Transposed {
  using Primitive = dnnl::deconvolution_forward;
  static constexpr auto algorithm = dnnl::algorithm::deconvolution_direct;
};

template <class Kind>
class Conv : public Op {
  using Primitive = typename Kind::Primitive;
  using PrimitiveDesc = typename Primitive::primitive_desc;

 public:
  explicit Conv(const Desc& d) : p_(d.params<trtact_conv>()), out_(d.out(0)) {
    const auto &x = d.in(0), &w = d.in(1), &y = d.out(0);
    const ConvShape shape(p_, x, w, y, std::is_same_v<Kind, Transposed>);
    if (p_.has_bias) require(elements(d.in(2)) == y.dims[1], "convolution: one bias per channel");
    if (p_.has_scale) require(elements(d.in(3)) == y.dims[1], "convolution: one scale per channel");
    fused_ = !p_.has_scale && p_.quantize <= 0 && into_kernel(p_.act);

    weights_ = shape.weights;
    const auto bias = p_.has_bias && fused_
                          ? dnnl::memory::desc({y.dims[1]}, dnnl::memory::data_type::f32, Tag::a)
                          : dnnl::memory::desc();
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (fused_) attr.set_post_ops(kernel_activation(p_.act));
    const auto make = [&](const dnnl::memory::desc& src, const dnnl::memory::desc& dst) {
      return PrimitiveDesc(engine(), dnnl::prop_kind::forward_inference, Kind::algorithm, src,
                           desc_any(weights_.get_dims()), bias, dst, shape.stride, shape.dilation,
                           shape.begin, shape.end, attr);
    };
    const auto src = desc_of(x), dst = desc_of(y);
    pd_ = make(src, dst);
    info = pd_.impl_info_str();
    if (const int ours = slowness(info, p_.groups)) {
      const auto other = make(desc_any(src.get_dims()), desc_any(dst.get_dims()));
      if (slowness(other.impl_info_str(), p_.groups) < ours) {
        pd_ = other;
        info = std::string(pd_.impl_info_str()) + " with reorders";
      }
    }
    primitive_ = Primitive(pd_);
    if (pd_.src_desc() != src) src_in_ = Reordering(src, pd_.src_desc());
    if (pd_.dst_desc() != dst) dst_out_ = Reordering(pd_.dst_desc(), dst);
    if (pd_.weights_desc() != weights_) pack_ = packing(d);

    keep(d, y.dims[1]);
    plan_workspace();
  }

  void run(const Args& args) const override {
    const float* w = packed_ ? packed_.data() : args.in[1];
    if (!packed_ && pack_) {
      pack_.run(args.in[1], args.workspace + at_weights_, args.workspace + at_scratch_);
      w = reinterpret_cast<float*>(args.workspace + at_weights_);
    }
    const float* src = args.in[0];
    if (src_in_) {
      src_in_.run(src, args.workspace + at_src_, args.workspace + at_scratch_);
      src = reinterpret_cast<float*>(args.workspace + at_src_);
    }
    float* dst = args.out[0];
    if (dst_out_) dst = reinterpret_cast<float*>(args.workspace + at_dst_);

    const float* bias = p_.has_bias ? (bias_.empty() ? args.in[2] : bias_.data()) : nullptr;
    Arguments a{{DNNL_ARG_SRC, bind(pd_.src_desc(), src)},
                {DNNL_ARG_WEIGHTS, bind(pd_.weights_desc(), w)},
                {DNNL_ARG_DST, bind(pd_.dst_desc(), dst)}};
    if (fused_ && bias) a.emplace(DNNL_ARG_BIAS, bind(pd_.bias_desc(), bias));
    if (pd_.scratchpad_desc().get_size())
      a.emplace(DNNL_ARG_SCRATCHPAD, bind(pd_.scratchpad_desc(), args.workspace + at_scratch_));
    primitive_.execute(thread_stream(), a);
    if (dst_out_) dst_out_.run(dst, args.out[0], args.workspace + at_scratch_);

    if (fused_) return;
    Epilogue e;
    e.bias = bias;
    if (p_.has_scale) e.scale = scale_.empty() ? args.in[3] : scale_.data();
    e.act = p_.act;
    e.quantize = p_.quantize;
    finish_channels(out_, args.out[0], e);
  }

 private:
  // Constant weights are packed here and now, by one thread: a team started by the
  // caller of op_create would stay as long as the caller's thread.
  Reordering packing(const Desc& d) const {
    Threads scope(d.constant(1) ? 1 : d.threads);
    return Reordering(weights_, pd_.weights_desc());
  }

  void keep(const Desc& d, int64_t channels) {
    if (const float* w = d.constant(1)) {
      Threads one(1);
      packed_.allocate(pd_.weights_desc().get_size());
      if (pack_) {
        Packed scratch;
        scratch.allocate(pack_.scratch_bytes());
        pack_.run(w, packed_.data(), scratch.data());
        thread_stream().wait();
      } else {
        std::copy(w, w + pd_.weights_desc().get_size() / sizeof(float), packed_.data());
      }
    }
    if (p_.has_bias)
      if (const float* b = d.constant(2)) bias_.assign(b, b + channels);
    if (p_.has_scale)
      if (const float* s = d.constant(3)) scale_.assign(s, s + channels);
  }

  void plan_workspace() {
    size_t scratch = pd_.scratchpad_desc().get_size();
    const auto reserve = [&](const Reordering& r, size_t bytes, size_t* at) {
      if (!r) return;
      scratch = std::max(scratch, r.scratch_bytes());
      *at = workspace_bytes;
      workspace_bytes += aligned(bytes);
    };
    reserve(src_in_, pd_.src_desc().get_size(), &at_src_);
    reserve(dst_out_, pd_.dst_desc().get_size(), &at_dst_);
    if (!packed_) reserve(pack_, pd_.weights_desc().get_size(), &at_weights_);
    at_scratch_ = workspace_bytes;
    workspace_bytes += aligned(scratch);
  }

  trtact_conv p_;
  View out_;
  bool fused_ = false; // bias and activation happen inside oneDNN
  dnnl::memory::desc weights_;
  PrimitiveDesc pd_;
  Primitive primitive_;
  Reordering src_in_, dst_out_, pack_;
  Packed packed_;
  std::vector<float> bias_, scale_;
  size_t at_src_ = 0, at_dst_ = 0, at_weights_ = 0, at_scratch_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_conv(const Desc& d) { return std::make_unique<Conv<Forward>>(d); }
std::unique_ptr<Op> make_conv_transpose(const Desc& d) {
  return std::make_unique<Conv<Transposed>>(d);
}

}  // namespace trtact::cpu
