// The table of operators: one line each.
#include "op.h"
#include "trtact/training.h"

namespace trtact::cuda {

#define TRTACT_CUDA_OPERATORS(X) \
  X(TRTACT_OP_UNARY, make_unary)

#define TRTACT_DECLARE(kind, make) std::unique_ptr<Op> make(const Desc&);
TRTACT_CUDA_OPERATORS(TRTACT_DECLARE)
#undef TRTACT_DECLARE

Factory find_factory(int32_t kind) {
  switch (kind) {
#define TRTACT_CASE(kind, make) \
  case kind: return make;
    TRTACT_CUDA_OPERATORS(TRTACT_CASE)
#undef TRTACT_CASE
  }
  return nullptr;
}

}  // namespace trtact::cuda
