// Moving data: strided copies (Transpose, Slice, Concat, Expand, Pad, Tile, ... are all
// lists of them) and moves of channels. Bound by memory bandwidth: a transposition goes
// through tiles in shared memory, so that reads and writes are both of whole lines.
#include "../common/strided.h"
#include "launch.h"
#include "op.h"

namespace trtact::cuda {
namespace {

struct Fill {
  float* y;
  float value;
  TRTACT_HD void operator()(uint32_t i) const { y[i] = value; }
};

struct Strided {
  const float* x;
  float* y;
  int32_t rank;
  uint32_t dims[TRTACT_MAX_RANK];
  int64_t in_stride[TRTACT_MAX_RANK], out_stride[TRTACT_MAX_RANK];

  TRTACT_HD void place(uint32_t i, int64_t* in, int64_t* out) const {
    *in = *out = 0;
    for (int k = rank - 1; k > 0; k--) {
      const uint32_t at = i % dims[k];
      i /= dims[k];
      *in += at * in_stride[k];
      *out += at * out_stride[k];
    }
    *in += i * in_stride[0];
    *out += i * out_stride[0];
  }
  struct Moved {
    float value;
    int64_t to;
  };
  TRTACT_HD Moved load(uint32_t i) const {
    int64_t in, out;
    place(i, &in, &out);
    return {x[in], out};
  }
  TRTACT_HD void store(uint32_t, Moved m) const { y[m.to] = m.value; }
};

constexpr unsigned kTile = 32, kRows = kThreads / kTile;

// The last dimension of s is contiguous in y, dimension other in x; blockIdx.y runs over
// the remaining ones.
__global__ void __launch_bounds__(kThreads) transpose_kernel(Strided s, int32_t other, uint32_t strips) {
  __shared__ float tile[kTile][kTile + 1]; // one more, so that a column is in all banks
  const int32_t last = s.rank - 1;
  const uint32_t rows = s.dims[other], columns = s.dims[last];
  int64_t in = 0, out = 0;
  uint32_t rest = blockIdx.y;
  for (int32_t k = last - 1; k >= 0; k--) {
    if (k == other) continue;
    const uint32_t at = rest % s.dims[k];
    rest /= s.dims[k];
    in += at * s.in_stride[k];
    out += at * s.out_stride[k];
  }
  const uint32_t row = blockIdx.x % strips * kTile, column = blockIdx.x / strips * kTile;
  const uint32_t tx = threadIdx.x % kTile, ty = threadIdx.x / kTile;
  for (uint32_t k = ty; k < kTile; k += kRows)
    if (row + tx < rows && column + k < columns)
      tile[k][tx] = s.x[in + row + tx + (column + k) * s.in_stride[last]];
  __syncthreads();
  for (uint32_t k = ty; k < kTile; k += kRows)
    if (row + k < rows && column + tx < columns)
      s.y[out + (row + k) * s.out_stride[other] + column + tx] = tile[tx][k];
}

// Runs one copy. x and y are where its tensors begin.
class Part {
 public:
  explicit Part(const trtact_copy_part& p) : p_(p), count_(1), s_{} {
    s_.rank = p.rank;
    for (int i = 0; i < p.rank; i++) {
      count_ *= p.dims[i];
      s_.dims[i] = static_cast<uint32_t>(p.dims[i]);
      s_.in_stride[i] = p.in_stride[i];
      s_.out_stride[i] = p.out_stride[i];
    }
    const int last = p.rank - 1;
    if (p.out_stride[last] == 1 && p.in_stride[last] != 1 && p.dims[last] >= 8)
      for (int i = 0; i < last; i++)
        if (p.in_stride[i] == 1 && p.dims[i] >= 8 && count_ / p.dims[i] / p.dims[last] < 65536) other_ = i;
  }
  void run(cudaStream_t stream, const float* x, float* y) const {
    Strided s = s_;
    s.x = x + p_.in_offset;
    s.y = y + p_.out_offset;
    if (other_ < 0) return TRTACT_MAP(stream, count_, s);
    const int64_t rows = p_.dims[other_], columns = p_.dims[p_.rank - 1];
    const unsigned strips = blocks_for(rows, kTile);
    const dim3 grid(strips * blocks_for(columns, kTile), static_cast<unsigned>(count_ / rows / columns));
    TRTACT_LAUNCH(transpose_kernel, grid, kThreads, stream, s, static_cast<int32_t>(other_), strips);
  }
  int input() const { return p_.input; }

 private:
  trtact_copy_part p_;
  int64_t count_;
  Strided s_;
  int other_ = -1; // the dimension that is contiguous in x, of a transposition
};

class Copy : public Op {
 public:
  explicit Copy(const Desc& d) : size_(elements(d.out(0))) {
    const auto& p = d.params<trtact_copy>();
    fill_ = p.fill != 0;
    value_ = p.value;
    for (int i = 0; i < p.n_parts; i++) {
      require(p.parts[i].input >= 0, "copy: a part is malformed");
      trtact_copy_part merged;
      if (merge_part(p.parts[i], d.in(p.parts[i].input), d.out(0), &merged)) parts_.emplace_back(merged);
    }
  }
  void run(const Args& args) const override {
    if (fill_) TRTACT_EACH(args.lane.stream, size_, Fill{args.out[0], value_});
    for (const Part& part : parts_) part.run(args.lane.stream, args.in[part.input()], args.out[0]);
  }

 private:
  int64_t size_;
  bool fill_;
  float value_;
  std::vector<Part> parts_;
};

class Channels : public Op {
 public:
  explicit Channels(const Desc& d) : out_(d.out(0)) {
    const auto& p = d.params<trtact_channels>();
    for (int i = 0; i < d.raw.n_inputs; i++) {
      const View in(d.in(i));
      require(in.space == out_.space && in.n == out_.n, "channels: an input differs from the output in more than channels");
    }
    for (int i = 0; i < p.n_runs; i++) add(d, p.runs[i]);
  }
  void run(const Args& args) const override {
    for (const Part& part : parts_)
      part.run(args.lane.stream, part.input() < 0 ? zero_.get() : args.in[part.input()], args.out[0]);
  }

 private:
  void add(const Desc& d, const trtact_channel_run& r) {
    require(r.input >= -1 && r.input < d.raw.n_inputs, "channels: no such input");
    const int64_t channels = r.input < 0 ? 0 : View(d.in(r.input)).c, space = out_.space;
    require(r.from >= 0 && r.to >= 0 && r.count >= 0 && r.to + r.count <= out_.c &&
                (r.input < 0 || r.from + r.count <= channels),
            "channels: a run leaves its tensor");
    if (r.count == 0) return;
    if (r.input < 0 && !zero_) zero_ = Memory(std::vector<float>{0.0f});
    // Images, and within them a run of memory; zeros are one element read again and again.
    trtact_copy_part p{r.input, 2, {out_.n, r.count * space}, 0, {}, r.to * space, {out_.c * space, 1}};
    if (r.input >= 0) {
      p.in_offset = r.from * space;
      p.in_stride[0] = channels * space;
      p.in_stride[1] = 1;
    }
    parts_.emplace_back(p);
  }

  View out_;
  Memory zero_;
  std::vector<Part> parts_;
};

// The layouts are one (op.h).
class Reorder : public Op {
 public:
  explicit Reorder(const Desc& d) : bytes_(static_cast<size_t>(elements(d.out(0))) * sizeof(float)) {
    require(same_dims(d.in(0), d.out(0)), "reorder: shapes differ");
  }
  void run(const Args& args) const override {
    TRTACT_CUDA(cudaMemcpyAsync(args.out[0], args.in[0], bytes_, cudaMemcpyDeviceToDevice, args.lane.stream));
  }

 private:
  size_t bytes_;
};

}  // namespace

std::unique_ptr<Op> make_copy(const Desc& d) { return std::make_unique<Copy>(d); }
std::unique_ptr<Op> make_channels(const Desc& d) { return std::make_unique<Channels>(d); }
std::unique_ptr<Op> make_reorder(const Desc& d) { return std::make_unique<Reorder>(d); }

}  // namespace trtact::cuda
