// Matrix products, batched with broadcasting, by cuBLAS.
#include "../common/broadcast.h"
#include "epilogue.h"

namespace trtact::cuda {
namespace {

// cuBLAS keeps a workspace for each handle, which a graph would share with whatever
// else the lane runs; one of the operator's own is its to use alone.
constexpr size_t kWorkspace = 4 << 20;

class MatMul : public Op {
 public:
  explicit MatMul(const Desc& d) : p_(d.params<trtact_matmul>()), compute_type_(compute_type(d.raw.math)), a_(d, 0), b_(d, 1) {
    const auto &a = d.in(0), &b = d.in(1), &y = d.out(0);
    require(y.rank >= 2, "matmul: the result must have at least two dimensions");
    require(a.rank >= 2 && a.rank <= y.rank && b.rank >= 2 && b.rank <= y.rank, "matmul: an operand has a wrong rank");
    m_ = y.dims[y.rank - 2];
    n_ = y.dims[y.rank - 1];
    k_ = a.dims[a.rank - (p_.transpose_a ? 2 : 1)];
    require(a.dims[a.rank - (p_.transpose_a ? 1 : 2)] == m_ && b.dims[b.rank - (p_.transpose_b ? 1 : 2)] == k_ &&
                b.dims[b.rank - (p_.transpose_b ? 2 : 1)] == n_,
            "matmul: sizes do not match");
    batches_ = plain_loops(leading(a), leading(b), leading(y));
    rows_ = elements(y) / n_;
    if (p_.has_bias) {
      require(elements(d.in(2)) == n_, "matmul: one bias per column");
      bias_ = Input(d, 2);
    }
    if (p_.has_scale) {
      require(elements(d.in(3)) == n_, "matmul: one scale per column");
      scale_ = Input(d, 3);
    }
    workspace_bytes = kWorkspace;
    info = "cublas";
  }
  void run(const Args& args) const override {
    const float *a = a_.of(args), *b = b_.of(args);
    cublasHandle_t h = args.lane.blas();
    check_blas(cublas().set_workspace(h, args.workspace, kWorkspace), "cublasSetWorkspace");
    const int last = static_cast<int>(batches_.dims.size()) - 1;
    int64_t outer = 1;
    for (int i = 0; i < last; i++) outer *= batches_.dims[i];
    const int m = static_cast<int>(m_), n = static_cast<int>(n_), k = static_cast<int>(k_);
    const float one = 1.0f, zero = 0.0f;
    for (int64_t r = 0; r < outer; r++) {
      int64_t at_a = 0, at_b = 0, rest = r;
      for (int i = last - 1; i >= 0; i--) {
        at_a += rest % batches_.dims[i] * batches_.a[i];
        at_b += rest % batches_.dims[i] * batches_.b[i];
        rest /= batches_.dims[i];
      }
      // Row-major y = a b is column-major y' = b' a'.
      check_blas(cublas().gemm_strided_batched(
                     h, p_.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, p_.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, n, m, k,
                     &one, b + at_b * k_ * n_, CUDA_R_32F, p_.transpose_b ? k : n, batches_.b[last] * k_ * n_,
                     a + at_a * m_ * k_, CUDA_R_32F, p_.transpose_a ? m : k, batches_.a[last] * m_ * k_, &zero,
                     args.out[0] + r * batches_.dims[last] * m_ * n_, CUDA_R_32F, n, m_ * n_,
                     static_cast<int>(batches_.dims[last]), compute_type_, CUBLAS_GEMM_DEFAULT),
                 "cublasGemmStridedBatchedEx");
    }
    finish_rows(args.lane.stream, rows_, n_, args.out[0],
                {p_.has_scale ? scale_.of(args) : nullptr, p_.has_bias ? bias_.of(args) : nullptr, p_.act, 0});
  }

 private:
  static int compute_type(int32_t math) {
    switch (math) {
      case TRTACT_MATH_TF32: return CUBLAS_COMPUTE_32F_FAST_TF32;
      case TRTACT_MATH_BF16: return CUBLAS_COMPUTE_32F_FAST_16BF;
    }
    return CUBLAS_COMPUTE_32F;
  }
  // All dimensions but the matrix's.
  static trtact_tensor leading(trtact_tensor t) {
    t.rank -= 2;
    return t;
  }

  trtact_matmul p_;
  int compute_type_;
  Input a_, b_, bias_, scale_;
  Loops batches_;
  int64_t m_ = 0, n_ = 0, k_ = 0, rows_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_matmul(const Desc& d) { return std::make_unique<MatMul>(d); }

}  // namespace trtact::cuda
