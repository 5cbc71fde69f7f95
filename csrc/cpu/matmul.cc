// Matrix products, batched with broadcasting, by oneDNN.
#include "epilogue.h"
#include "onednn.h"

namespace trtact::cpu {
namespace {

class MatMul : public Op {
 public:
  explicit MatMul(const Desc& d) : p_(d.params<trtact_matmul>()) {
    const auto& y = d.out(0);
    require(y.rank >= 2, "matmul: the result must have at least two dimensions");
    const auto a = operand(d.in(0), y.rank, p_.transpose_a != 0);
    const auto b = operand(d.in(1), y.rank, p_.transpose_b != 0);
    columns_ = y.dims[y.rank - 1];
    rows_ = elements(y) / columns_;
    if (p_.has_bias) require(elements(d.in(2)) == columns_, "matmul: one bias per column");
    if (p_.has_scale) require(elements(d.in(3)) == columns_, "matmul: one scale per column");
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    pd_ = dnnl::matmul::primitive_desc(engine(), a, b, desc_of(y), attr);
    info = pd_.impl_info_str();
    primitive_ = dnnl::matmul(pd_);
    workspace_bytes = aligned(pd_.scratchpad_desc().get_size());
    for (int i = 0; i < d.raw.n_inputs && i < 4; i++)
      if (const float* c = d.constant(i)) constant_[i].assign(c, c + elements(d.in(i)));
  }
  void run(const Args& args) const override {
    const auto in = [&](int i) { return constant_[i].empty() ? args.in[i] : constant_[i].data(); };
    Arguments a{{DNNL_ARG_SRC, bind(pd_.src_desc(), in(0))},
                {DNNL_ARG_WEIGHTS, bind(pd_.weights_desc(), in(1))},
                {DNNL_ARG_DST, bind(pd_.dst_desc(), args.out[0])}};
    if (pd_.scratchpad_desc().get_size())
      a.emplace(DNNL_ARG_SCRATCHPAD, bind(pd_.scratchpad_desc(), args.workspace));
    primitive_.execute(thread_stream(), a);
    if (!p_.has_bias && !p_.has_scale && p_.act.kind == TRTACT_ACT_NONE) return;
    Epilogue e;
    if (p_.has_bias) e.bias = in(2);
    if (p_.has_scale) e.scale = in(3);
    e.act = p_.act;
    finish_rows(rows_, columns_, args.out[0], e);
  }

 private:
  // Row-major, led by ones up to rank; transposed by exchanging the strides.
  static dnnl::memory::desc operand(const trtact_tensor& t, int rank, bool transposed) {
    require(t.rank >= 2 && t.rank <= rank, "matmul: an operand has a wrong rank");
    dnnl::memory::dims dims(rank, 1), strides(rank, 0);
    int64_t step = 1;
    for (int i = t.rank - 1, o = rank - 1; i >= 0; i--, o--) {
      dims[o] = t.dims[i];
      strides[o] = step;
      step *= t.dims[i];
    }
    for (int o = 0; o < rank - t.rank; o++) strides[o] = step;
    if (transposed) {
      std::swap(dims[rank - 1], dims[rank - 2]);
      std::swap(strides[rank - 1], strides[rank - 2]);
    }
    return dnnl::memory::desc(dims, dnnl::memory::data_type::f32, strides);
  }

  trtact_matmul p_;
  int64_t rows_ = 0, columns_ = 0;
  dnnl::matmul::primitive_desc pd_;
  dnnl::matmul primitive_;
  std::vector<float> constant_[4];
};

}  // namespace

std::unique_ptr<Op> make_matmul(const Desc& d) { return std::make_unique<MatMul>(d); }

}  // namespace trtact::cpu
