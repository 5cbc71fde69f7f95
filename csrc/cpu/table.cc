// The table of operators: one line each.
#include "op.h"

namespace trtact::cpu {

#define TRTACT_CPU_OPERATORS(X)                       \
  X(TRTACT_OP_CONV, make_conv)                        \
  X(TRTACT_OP_CONV_TRANSPOSE, make_conv_transpose)    \
  X(TRTACT_OP_POOL, make_pool)                        \
  X(TRTACT_OP_MATMUL, make_matmul)                    \
  X(TRTACT_OP_UNARY, make_unary)                      \
  X(TRTACT_OP_BINARY, make_binary)                    \
  X(TRTACT_OP_COPY, make_copy)                        \
  X(TRTACT_OP_CHANNELS, make_channels)                \
  X(TRTACT_OP_RESIZE, make_resize)                    \
  X(TRTACT_OP_SOFTMAX, make_softmax)                  \
  X(TRTACT_OP_REDUCE, make_reduce)                    \
  X(TRTACT_OP_GLOBAL_POOL, make_global_pool)          \
  X(TRTACT_OP_QUANTIZE, make_quantize)                \
  X(TRTACT_OP_DEQUANTIZE, make_dequantize)            \
  X(TRTACT_OP_AFFINE, make_affine)                    \
  X(TRTACT_OP_REORDER, make_reorder)

#define TRTACT_DECLARE(kind, make) std::unique_ptr<Op> make(const Desc&);
TRTACT_CPU_OPERATORS(TRTACT_DECLARE)
#undef TRTACT_DECLARE

Factory find_factory(int32_t kind) {
  switch (kind) {
#define TRTACT_CASE(kind, make) \
  case kind: return make;
    TRTACT_CPU_OPERATORS(TRTACT_CASE)
#undef TRTACT_CASE
  }
  return nullptr;
}

}  // namespace trtact::cpu
