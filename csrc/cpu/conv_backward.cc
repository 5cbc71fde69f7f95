// Gradients of convolution and transposed convolution, by oneDNN but for some weights'
// (conv_weights.h, depthwise.h). Layouts as in conv.cc: the tensors' are ours, the
// weights' are oneDNN's, and where it has only slow code for ours the tensors are
// reordered in the workspace.
//
// A scale per output channel costs nothing worth naming: it goes to the weights
// before, or to their gradient after, never over a tensor.
#include <cstring>

#include "conv_shape.h"
#include "conv_weights.h"
#include "depthwise.h"
#include "each.h"

namespace trtact::cpu {
namespace {

struct Forward {
  using Hint = dnnl::convolution_forward;
  using Data = dnnl::convolution_backward_data;
  using Weights = dnnl::convolution_backward_weights;
  static constexpr auto algorithm = dnnl::algorithm::convolution_direct;
  static constexpr bool transposed = false;
};
struct Transposed {
  using Hint = dnnl::deconvolution_forward;
  using Data = dnnl::deconvolution_backward_data;
  using Weights = dnnl::deconvolution_backward_weights;
  static constexpr auto algorithm = dnnl::algorithm::deconvolution_direct;
  static constexpr bool transposed = true;
};

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// The forward descriptor that oneDNN's backward descriptors are made from.
template <class Kind>
typename Kind::Hint::primitive_desc hint(const ConvShape& s, const dnnl::memory::desc& src,
                                         const dnnl::memory::desc& dst) {
  return {engine(), dnnl::prop_kind::forward_training, Kind::algorithm, src,
          desc_any(s.weights.get_dims()), dst, s.stride, s.dilation, s.begin, s.end,
          user_scratchpad()};
}

// make(src, dst) for our layouts, or for oneDNN's own if ours are slow.
template <class Make>
auto choose(const Make& make, const dnnl::memory::desc& src, const dnnl::memory::desc& dst,
            int64_t groups, std::string* info) {
  auto pd = make(src, dst);
  *info = pd.impl_info_str();
  const int ours = slowness(*info, groups);
  if (ours == 0) return pd;
  const auto other = make(desc_any(src.get_dims()), desc_any(dst.get_dims()));
  if (slowness(other.impl_info_str(), groups) >= ours) return pd;
  *info = std::string(other.impl_info_str()) + " with reorders";
  return other;
}

// to[i] = from[i] * scale[output channel of i], over weights as the graph holds
// them: [O][C/g][k], transposed [C][O/g][k].
class ScaleWeights {
 public:
  ScaleWeights() = default;
  ScaleWeights(const trtact_conv& p, const trtact_tensor& w, bool transposed)
      : transposed_(transposed), a_(w.dims[0]), b_(w.dims[1]), group_(w.dims[0] / p.groups) {
    for (int i = 2; i < w.rank; i++) spatial_ *= w.dims[i];
  }
  void run(const float* from, const float* scale, float* to) const {
    parallel(a_ * b_, std::max<int64_t>(1, kGrain / spatial_), [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; r++) {
        const float s = scale[transposed_ ? r / b_ / group_ * b_ + r % b_ : r / b_];
        for (int64_t i = r * spatial_; i < (r + 1) * spatial_; i++) to[i] = from[i] * s;
      }
    });
  }

 private:
  bool transposed_ = false;
  int64_t a_ = 0, b_ = 0, group_ = 1, spatial_ = 1;
};

// Parts of an op's workspace, the shared scratchpad last.
class Layout {
 public:
  size_t add(size_t bytes) {
    const size_t at = size_;
    size_ += aligned(bytes);
    return at;
  }
  void scratch(size_t bytes) { scratch_ = std::max(scratch_, bytes); }
  size_t at_scratch() const { return size_; }
  size_t bytes() const { return size_ + aligned(scratch_); }

 private:
  size_t size_ = 0, scratch_ = 0;
};

template <class Kind>
class BackwardData : public Op {
  using Primitive = typename Kind::Data;
  using PrimitiveDesc = typename Primitive::primitive_desc;

 public:
  explicit BackwardData(const Desc& d)
      : p_(d.params<trtact_conv>()), scaling_(p_, d.in(1), Kind::transposed), w_(d, 1) {
    const auto &dy = d.in(0), &w = d.in(1), &dx = d.out(0);
    const ConvShape shape(p_, dx, w, dy, Kind::transposed);
    if (p_.has_scale) {
      require(elements(d.in(2)) == dy.dims[1], "convolution: one scale per channel");
      scale_ = Input(d, 2);
    }
    const auto src = desc_of(dx), dst = desc_of(dy);
    const auto make = [&](const dnnl::memory::desc& s, const dnnl::memory::desc& t) {
      return PrimitiveDesc(engine(), Kind::algorithm, s, desc_any(shape.weights.get_dims()), t,
                           shape.stride, shape.dilation, shape.begin, shape.end,
                           hint<Kind>(shape, s, t), user_scratchpad());
    };
    pd_ = choose(make, src, dst, p_.groups, &info);
    primitive_ = Primitive(pd_);
    if (pd_.diff_dst_desc() != dst) in_ = Reordering(dst, pd_.diff_dst_desc());
    if (pd_.diff_src_desc() != src) out_ = Reordering(pd_.diff_src_desc(), src);
    if (pd_.weights_desc() != shape.weights) pack_ = Reordering(shape.weights, pd_.weights_desc());

    Layout at;
    for (const auto* r : {&in_, &out_, &pack_}) at.scratch(*r ? r->scratch_bytes() : 0);
    at.scratch(pd_.scratchpad_desc().get_size());
    if (in_) at_dy_ = at.add(pd_.diff_dst_desc().get_size());
    if (out_) at_dx_ = at.add(pd_.diff_src_desc().get_size());
    if (p_.has_scale) at_scaled_ = at.add(elements(w) * sizeof(float));
    if (pack_) at_weights_ = at.add(pd_.weights_desc().get_size());
    at_scratch_ = at.at_scratch();
    workspace_bytes = at.bytes();
    if (d.constant(1) && (!p_.has_scale || d.constant(2))) {
      Packed work;
      work.allocate(workspace_bytes);
      const Args args{nullptr, nullptr, reinterpret_cast<char*>(work.data())};
      const float* w_now = weights(args);
      thread_stream().wait();
      const size_t bytes = pd_.weights_desc().get_size();
      packed_.allocate(bytes);
      std::memcpy(packed_.data(), w_now, bytes);
    }
  }

  void run(const Args& args) const override {
    char *const work = args.workspace, *const scratch = work + at_scratch_;
    const void* dy = args.in[0];
    if (in_) {
      in_.run(dy, work + at_dy_, scratch);
      dy = work + at_dy_;
    }
    const float* w = packed_ ? packed_.data() : weights(args);
    void* dx = out_ ? static_cast<void*>(work + at_dx_) : args.out[0];
    Arguments a{{DNNL_ARG_DIFF_DST, bind(pd_.diff_dst_desc(), dy)},
                {DNNL_ARG_WEIGHTS, bind(pd_.weights_desc(), w)},
                {DNNL_ARG_DIFF_SRC, bind(pd_.diff_src_desc(), dx)}};
    if (pd_.scratchpad_desc().get_size())
      a.emplace(DNNL_ARG_SCRATCHPAD, bind(pd_.scratchpad_desc(), scratch));
    primitive_.execute(thread_stream(), a);
    if (out_) out_.run(dx, args.out[0], scratch);
  }

 private:
  // The weights as oneDNN wants them, scaled, in the workspace.
  const float* weights(const Args& args) const {
    const float* w = w_.of(args);
    if (p_.has_scale) {
      float* scaled = reinterpret_cast<float*>(args.workspace + at_scaled_);
      scaling_.run(w, scale_.of(args), scaled);
      w = scaled;
    }
    if (!pack_) return w;
    pack_.run(w, args.workspace + at_weights_, args.workspace + at_scratch_);
    return reinterpret_cast<float*>(args.workspace + at_weights_);
  }

  trtact_conv p_;
  ScaleWeights scaling_;
  Input w_, scale_;
  Packed packed_; // where weights and scale never change
  PrimitiveDesc pd_;
  Primitive primitive_;
  Reordering in_, out_, pack_;
  size_t at_dy_ = 0, at_dx_ = 0, at_scaled_ = 0, at_weights_ = 0, at_scratch_ = 0;
};

template <class Kind>
class BackwardWeights : public Op {
  using Primitive = typename Kind::Weights;
  using PrimitiveDesc = typename Primitive::primitive_desc;

 public:
  explicit BackwardWeights(const Desc& d)
      : p_(d.params<trtact_conv>()), scaling_(p_, d.out(0), Kind::transposed) {
    const auto &x = d.in(0), &dy = d.in(1), &dw = d.out(0);
    const ConvShape shape(p_, x, dw, dy, Kind::transposed);
    if (p_.has_scale) {
      require(elements(d.in(2)) == dy.dims[1], "convolution: one scale per channel");
      scale_ = Input(d, 2);
    }
    if (p_.has_bias)
      require(elements(d.out(1)) == dy.dims[1], "convolution: one bias per channel");
    const auto bias = p_.has_bias
                          ? dnnl::memory::desc({dy.dims[1]}, dnnl::memory::data_type::f32, Tag::a)
                          : dnnl::memory::desc();
    const auto src = desc_of(x), dst = desc_of(dy);
    auto src_wanted = src, dst_wanted = blocked(dy);
    if (!Kind::transposed && ConvWeights::serves(p_)) {
      by_ = By::kTiles;
      info = "tiles";
      tiles_ = ConvWeights(p_, x, dy);
    } else {
      const auto make = [&](const dnnl::memory::desc& s, const dnnl::memory::desc& t) {
        return PrimitiveDesc(engine(), Kind::algorithm, s, desc_any(shape.weights.get_dims()), bias, t,
                             shape.stride, shape.dilation, shape.begin, shape.end,
                             hint<Kind>(shape, s, t), user_scratchpad());
      };
      pd_ = choose(make, src, dst, p_.groups, &info);
      if (!Kind::transposed && slowness(info, p_.groups) > 0 && DepthwiseWeights::serves(p_, x, dy)) {
        by_ = By::kDepthwise;
        info = "depthwise";
        depthwise_ = DepthwiseWeights(p_, x, dy);
        src_wanted = blocked(x);
      } else {
        primitive_ = Primitive(pd_);
        src_wanted = pd_.src_desc();
        dst_wanted = pd_.diff_dst_desc();
      }
    }
    if (src_wanted != src) src_in_ = Reordering(src, src_wanted);
    if (dst_wanted != dst) dst_in_ = Reordering(dst, dst_wanted);
    if (by_ == By::kOneDNN && pd_.diff_weights_desc() != shape.weights)
      unpack_ = Reordering(pd_.diff_weights_desc(), shape.weights);

    Layout at;
    for (const auto* r : {&src_in_, &dst_in_, &unpack_}) at.scratch(*r ? r->scratch_bytes() : 0);
    if (by_ == By::kOneDNN) at.scratch(pd_.scratchpad_desc().get_size());
    if (by_ == By::kTiles) at.scratch(tiles_.workspace_bytes());
    if (src_in_) at_x_ = at.add(src_wanted.get_size());
    if (dst_in_) at_dy_ = at.add(dst_wanted.get_size());
    if (unpack_) at_weights_ = at.add(pd_.diff_weights_desc().get_size());
    at_scratch_ = at.at_scratch();
    workspace_bytes = at.bytes();
  }

  void run(const Args& args) const override {
    char *const work = args.workspace, *const scratch = work + at_scratch_;
    const void *x = args.in[0], *dy = args.in[1];
    if (src_in_) {
      src_in_.run(x, work + at_x_, scratch);
      x = work + at_x_;
    }
    if (dst_in_) {
      dst_in_.run(dy, work + at_dy_, scratch);
      dy = work + at_dy_;
    }
    const auto *xs = static_cast<const float*>(x), *dys = static_cast<const float*>(dy);
    float* const dbias = p_.has_bias ? args.out[1] : nullptr;
    switch (by_) {
      case By::kTiles: tiles_.run(xs, dys, args.out[0], dbias, reinterpret_cast<float*>(scratch)); break;
      case By::kDepthwise: depthwise_.run(xs, dys, args.out[0], dbias); break;
      case By::kOneDNN: run_onednn(args, x, dy); break;
    }
    if (p_.has_scale) scaling_.run(args.out[0], scale_.of(args), args.out[0]);
  }

  bool scaled() const { return p_.has_scale; }
  bool biased() const { return p_.has_bias; }

 private:
  static dnnl::memory::desc blocked(trtact_tensor t) {
    t.layout = TRTACT_BLOCKED;
    return desc_of(t);
  }

  void run_onednn(const Args& args, const void* x, const void* dy) const {
    char *const work = args.workspace, *const scratch = work + at_scratch_;
    void* dw = unpack_ ? static_cast<void*>(work + at_weights_) : args.out[0];
    Arguments a{{DNNL_ARG_SRC, bind(pd_.src_desc(), x)},
                {DNNL_ARG_DIFF_DST, bind(pd_.diff_dst_desc(), dy)},
                {DNNL_ARG_DIFF_WEIGHTS, bind(pd_.diff_weights_desc(), dw)}};
    if (p_.has_bias) a.emplace(DNNL_ARG_DIFF_BIAS, bind(pd_.diff_bias_desc(), args.out[1]));
    if (pd_.scratchpad_desc().get_size())
      a.emplace(DNNL_ARG_SCRATCHPAD, bind(pd_.scratchpad_desc(), scratch));
    primitive_.execute(thread_stream(), a);
    if (unpack_) unpack_.run(dw, args.out[0], scratch);
  }

  trtact_conv p_;
  ScaleWeights scaling_;
  Input scale_;
  enum class By { kOneDNN, kTiles, kDepthwise } by_ = By::kOneDNN;
  ConvWeights tiles_;
  DepthwiseWeights depthwise_;
  PrimitiveDesc pd_;
  Primitive primitive_;
  Reordering src_in_, dst_in_, unpack_;
  size_t at_x_ = 0, at_dy_ = 0, at_weights_ = 0, at_scratch_ = 0;
};

// Several threads on one image: each takes some blocks of the output channels, with
// an operator of its own; a single block is one thread's work. oneDNN would let them
// add up parts of the same weights behind barriers, which costs more than the work
// does as soon as a thread has to wait for its core.
class SplitBackwardWeights : public Op {
 public:
  static bool serves(const Desc& d) {
    const auto& p = d.params<trtact_conv>();
    return d.threads > 1 && p.groups == 1 && !ConvWeights::serves(p) && d.in(1).dims[0] == 1;
  }

  explicit SplitBackwardWeights(const Desc& d) {
    const Threads one(1);
    const auto& p = d.params<trtact_conv>();
    const View dy(d.in(1));
    const int64_t count = std::min<int64_t>(d.threads, dy.blocks);
    for (int64_t k = 0; k < count; k++) {
      const int64_t first = dy.blocks * k / count * dy.lanes;
      const int64_t last = std::min(dy.blocks * (k + 1) / count * dy.lanes, dy.c);
      std::vector<trtact_tensor> in(d.raw.inputs, d.raw.inputs + d.raw.n_inputs);
      std::vector<trtact_tensor> out(d.raw.outputs, d.raw.outputs + d.raw.n_outputs);
      in[1].dims[1] = out[0].dims[0] = last - first;
      if (p.has_scale) in[2].dims[0] = last - first;
      if (p.has_bias) out[1].dims[0] = last - first;
      trtact_op_desc raw = d.raw;
      raw.inputs = in.data();
      raw.outputs = out.data();
      std::vector<const float*> constants;
      if (raw.constants) {
        constants.assign(raw.constants, raw.constants + raw.n_inputs);
        if (p.has_scale && constants[2]) constants[2] += first;
        raw.constants = constants.data();
      }
      parts_.push_back({std::make_unique<BackwardWeights<Forward>>(Desc{{raw}, 1}), first,
                        first * dy.space, first * (elements(out[0]) / out[0].dims[0]),
                        workspace_bytes});
      workspace_bytes += aligned(parts_.back().op->workspace_bytes);
    }
    info = parts_[0].op->info + " in " + std::to_string(count) + " parts";
  }

  void run(const Args& args) const override {
    parallel(static_cast<int64_t>(parts_.size()), 1, [&](int64_t from, int64_t to) {
      for (int64_t k = from; k < to; k++) {
        const Part& part = parts_[k];
        const float* in[3] = {args.in[0], args.in[1] + part.dy, nullptr};
        float* out[2] = {args.out[0] + part.dw, nullptr};
        if (part.op->scaled()) in[2] = args.in[2] ? args.in[2] + part.channel : nullptr;
        if (part.op->biased()) out[1] = args.out[1] + part.channel;
        part.op->run({in, out, args.workspace + part.workspace});
      }
    });
  }

 private:
  struct Part {
    std::unique_ptr<BackwardWeights<Forward>> op;
    int64_t channel, dy, dw; // where its channels begin
    size_t workspace;
  };
  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<Op> make_conv_backward_data(const Desc& d) {
  return std::make_unique<BackwardData<Forward>>(d);
}
std::unique_ptr<Op> make_conv_transpose_backward_data(const Desc& d) {
  return std::make_unique<BackwardData<Transposed>>(d);
}
std::unique_ptr<Op> make_conv_backward_weights(const Desc& d) {
  if (SplitBackwardWeights::serves(d)) return std::make_unique<SplitBackwardWeights>(d);
  return std::make_unique<BackwardWeights<Forward>>(d);
}
std::unique_ptr<Op> make_conv_transpose_backward_weights(const Desc& d) {
  return std::make_unique<BackwardWeights<Transposed>>(d);
}

}  // namespace trtact::cpu
