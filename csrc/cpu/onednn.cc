#include "onednn.h"

#include <cstdlib>

namespace trtact::cpu {

const dnnl::engine& engine() {
  static const dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}

dnnl::stream& thread_stream() {
  thread_local dnnl::stream s(engine());
  return s;
}

dnnl::memory::dims dims_of(const trtact_tensor& t) {
  return dnnl::memory::dims(t.dims, t.dims + t.rank);
}

Tag plain_tag(int rank) {
  static const Tag tags[] = {Tag::a,     Tag::a,      Tag::ab,      Tag::abc,     Tag::abcd,
                             Tag::abcde, Tag::abcdef, Tag::abcdefg, Tag::abcdefgh};
  return tags[rank];
}

Tag blocked_tag(int rank) {
  switch (rank) {
    case 3: return kBlock == 16 ? Tag::nCw16c : Tag::nCw8c;
    case 4: return kBlock == 16 ? Tag::nChw16c : Tag::nChw8c;
    case 5: return kBlock == 16 ? Tag::nCdhw16c : Tag::nCdhw8c;
  }
  fail("blocked layout needs rank 3 to 5, not " + std::to_string(rank));
}

dnnl::memory::desc desc_of(const trtact_tensor& t) {
  return {dims_of(t), dnnl::memory::data_type::f32,
          t.layout == TRTACT_BLOCKED ? blocked_tag(t.rank) : plain_tag(t.rank)};
}

dnnl::memory::desc desc_any(const dnnl::memory::dims& dims) {
  return {dims, dnnl::memory::data_type::f32, Tag::any};
}

void Packed::allocate(size_t bytes) {
  data_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, aligned(bytes ? bytes : 1))));
  if (!data_) fail("out of memory: " + std::to_string(bytes) + " bytes for packed weights");
}
void Packed::Free::operator()(float* p) const { std::free(p); }

Reordering::Reordering(const dnnl::memory::desc& from, const dnnl::memory::desc& to)
    : from_(from), to_(to) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, attr);
  scratch_ = pd.scratchpad_desc();
  primitive_ = dnnl::reorder(pd);
}

void Reordering::run(const void* from, void* to, void* scratch) const {
  Arguments args{{DNNL_ARG_FROM, bind(from_, from)}, {DNNL_ARG_TO, bind(to_, to)}};
  if (scratch_.get_size()) args.emplace(DNNL_ARG_SCRATCHPAD, bind(scratch_, scratch));
  primitive_.execute(thread_stream(), args);
}

}  // namespace trtact::cpu
