// Pooling windows by oneDNN; global pooling by a loop of our own.
#include "onednn.h"
#include "../kernels/activation.h"

namespace trtact::cpu {
namespace {

class Pool : public Op {
 public:
  explicit Pool(const Desc& d) {
    const auto& p = d.params<trtact_pool>();
    const auto &x = d.in(0), &y = d.out(0);
    require(x.rank == p.spatial + 2 && y.rank == x.rank, "pooling: ranks differ");
    require_window(p.spatial, p.kernel, p.stride, p.dilation);
    dnnl::memory::dims kernel, stride, dilation, begin, end;
    for (int i = 0; i < p.spatial; i++) {
      kernel.push_back(p.kernel[i]);
      stride.push_back(p.stride[i]);
      dilation.push_back(p.dilation[i] - 1);
      begin.push_back(p.pad_begin[i]);
      // oneDNN wants the padding that makes the output's size exact
      // (ceil_mode asks for more than the graph's pads).
      const int64_t reach = (p.kernel[i] - 1) * p.dilation[i] + 1;
      end.push_back((y.dims[2 + i] - 1) * p.stride[i] + reach - x.dims[2 + i] - p.pad_begin[i]);
    }
    const auto algorithm = p.kind == TRTACT_POOL_MAX       ? dnnl::algorithm::pooling_max
                           : p.kind == TRTACT_POOL_AVERAGE ? dnnl::algorithm::pooling_avg_exclude_padding
                                                           : dnnl::algorithm::pooling_avg_include_padding;
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    pd_ = dnnl::pooling_forward::primitive_desc(engine(), dnnl::prop_kind::forward_inference, algorithm,
                                                desc_of(x), desc_of(y), stride, kernel, dilation,
                                                begin, end, attr);
    info = pd_.impl_info_str();
    primitive_ = dnnl::pooling_forward(pd_);
    workspace_bytes = aligned(pd_.scratchpad_desc().get_size());
  }
  void run(const Args& args) const override {
    Arguments a{{DNNL_ARG_SRC, bind(pd_.src_desc(), args.in[0])},
                {DNNL_ARG_DST, bind(pd_.dst_desc(), args.out[0])}};
    if (pd_.scratchpad_desc().get_size())
      a.emplace(DNNL_ARG_SCRATCHPAD, bind(pd_.scratchpad_desc(), args.workspace));
    primitive_.execute(thread_stream(), a);
  }

 private:
  dnnl::pooling_forward::primitive_desc pd_;
  dnnl::pooling_forward primitive_;
};

class GlobalPool : public Op {
 public:
  explicit GlobalPool(const Desc& d) : in_(d.in(0)), kind_(d.params<trtact_reduce>().kind) {
    require(d.in(0).layout == d.out(0).layout && View(d.out(0)).space == 1 &&
                d.in(0).dims[1] == d.out(0).dims[1],
            "global pooling: the output must be one value per channel in the input's layout");
    require(kind_ == TRTACT_REDUCE_MEAN || kind_ == TRTACT_REDUCE_MAX, "global pooling: mean or max");
  }
  void run(const Args& args) const override {
    const View& v = in_;
    parallel(v.n * v.blocks, std::max<int64_t>(1, kGrain / (v.space * v.lanes)),
             [&](int64_t from, int64_t to) {
               for (int64_t nb = from; nb < to; nb++) {
                 const float* x = args.in[0] + nb * v.space * v.lanes;
                 float* y = args.out[0] + nb * v.lanes;
                 for (int64_t l = 0; l < v.lanes; l++) {
                   double sum = 0;
                   float top = x[l];
                   for (int64_t s = 0; s < v.space; s++) {
                     sum += x[s * v.lanes + l];
                     top = maximum(top, x[s * v.lanes + l]);
                   }
                   y[l] = kind_ == TRTACT_REDUCE_MEAN ? static_cast<float>(sum / v.space) : top;
                 }
               }
             });
  }

 private:
  View in_;
  int32_t kind_;
};

}  // namespace

std::unique_ptr<Op> make_pool(const Desc& d) { return std::make_unique<Pool>(d); }
std::unique_ptr<Op> make_global_pool(const Desc& d) { return std::make_unique<GlobalPool>(d); }

}  // namespace trtact::cpu
