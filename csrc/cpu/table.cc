// The table of operators: what makes each of them on this device.
#include "../common/operators.h"
#include "op.h"

namespace trtact::cpu {

#define TRTACT_DECLARE(kind, make) std::unique_ptr<Op> make(const Desc&);
TRTACT_OPERATORS(TRTACT_DECLARE)
#undef TRTACT_DECLARE

Factory find_factory(int32_t kind) {
  switch (kind) {
#define TRTACT_CASE(kind, make)                                                 \
  case kind: return make;
    TRTACT_OPERATORS(TRTACT_CASE)
#undef TRTACT_CASE
  }
  return nullptr;
}

}  // namespace trtact::cpu
