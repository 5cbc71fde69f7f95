// Moving data: strided copies of row-major tensors (Transpose, Slice, Concat,
// Expand, Pad, Tile, ... are all lists of them), moves of channels between
// blocked tensors (Concat, Split, Slice, channel shuffle on the channel axis),
// and the change of layout.
#include <algorithm>
#include <cstring>

#include "../common/strided.h"
#include "onednn.h"

namespace trtact::cpu {
namespace {

// Four rows of four floats, in registers; x and y are the rows' distances.
inline void transpose_4x4(const float* a, int64_t x, float* b, int64_t y) {
  using Row = float __attribute__((vector_size(16)));
  using Index = int32_t __attribute__((vector_size(16)));
  Row in[4], out[4];
  for (int i = 0; i < 4; i++) std::memcpy(&in[i], a + i * x, sizeof(Row));
  for (int half = 0; half < 2; half++) {
    const Index pairs = half ? Index{2, 6, 3, 7} : Index{0, 4, 1, 5};
    const Row upper = __builtin_shuffle(in[0], in[1], pairs), lower = __builtin_shuffle(in[2], in[3], pairs);
    out[2 * half] = __builtin_shuffle(upper, lower, Index{0, 1, 4, 5});
    out[2 * half + 1] = __builtin_shuffle(upper, lower, Index{2, 3, 6, 7});
  }
  for (int i = 0; i < 4; i++) std::memcpy(b + i * y, &out[i], sizeof(Row));
}

class Copy : public Op {
 public:
  explicit Copy(const Desc& d) : size_(elements(d.out(0))) {
    const auto& p = d.params<trtact_copy>();
    fill_ = p.fill != 0;
    value_ = p.value;
    for (int i = 0; i < p.n_parts; i++) add(d, p.parts[i]);
  }
  void run(const Args& args) const override {
    if (fill_) std::fill(args.out[0], args.out[0] + size_, value_);
    for (const auto& part : parts_) run_part(part, args.in[part.input], args.out[0]);
  }

 private:
  void add(const Desc& d, const trtact_copy_part& part) {
    require(part.input >= 0, "copy: a part is malformed");
    require(d.in(part.input).layout == TRTACT_PLAIN && d.out(0).layout == TRTACT_PLAIN,
            "copy: tensors must be row-major");
    trtact_copy_part merged;
    if (merge_part(part, d.in(part.input), d.out(0), &merged)) parts_.push_back(merged);
  }

  // The dimension along which the input is contiguous, if the output is
  // contiguous along another: a transposition. -1 if it is none.
  static int transposed(const trtact_copy_part& p) {
    const int last = p.rank - 1;
    if (p.out_stride[last] != 1 || p.in_stride[last] == 1 || p.dims[last] < 4) return -1;
    for (int i = 0; i < last; i++)
      if (p.in_stride[i] == 1 && p.dims[i] >= 4) return i;
    return -1;
  }

  static void run_part(const trtact_copy_part& p, const float* x, float* y) {
    const int other = transposed(p);
    if (other >= 0) return run_transposed(p, other, x, y);
    const int last = p.rank - 1;
    const int64_t inner = p.dims[last], si = p.in_stride[last], so = p.out_stride[last];
    int64_t rows = 1;
    for (int i = 0; i < last; i++) rows *= p.dims[i];
    parallel(rows, std::max<int64_t>(1, kGrain / inner), [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        int64_t at_in = p.in_offset, at_out = p.out_offset, rest = r;
        for (int i = last - 1; i >= 0; i--) {
          const int64_t k = rest % p.dims[i];
          rest /= p.dims[i];
          at_in += k * p.in_stride[i];
          at_out += k * p.out_stride[i];
        }
        const float* a = x + at_in;
        float* b = y + at_out;
        if (si == 1 && so == 1)
          std::memcpy(b, a, inner * sizeof(float));
        else if (si == 0 && so == 1)
          std::fill(b, b + inner, *a);
        else
          for (int64_t i = 0; i < inner; i++) b[i * so] = a[i * si];
      }
    });
  }

  // Tile by tile, so that a cache line is read and written while it is there.
  static void run_transposed(const trtact_copy_part& p, int other, const float* x, float* y) {
    constexpr int64_t kTile = 16;
    const int last = p.rank - 1;
    const int64_t columns = p.dims[last], rows = p.dims[other];
    const int64_t si = p.in_stride[last], so = p.out_stride[other];
    const int64_t strips = (rows + kTile - 1) / kTile;
    int64_t planes = 1;
    for (int i = 0; i < last; i++)
      if (i != other) planes *= p.dims[i];
    parallel(planes * strips, std::max<int64_t>(1, kGrain / (kTile * columns)), [&](int64_t from, int64_t to) {
      for (int64_t job = from; job < to; job++) {
        int64_t at_in = p.in_offset, at_out = p.out_offset, rest = job / strips;
        for (int i = last - 1; i >= 0; i--) {
          if (i == other) continue;
          const int64_t k = rest % p.dims[i];
          rest /= p.dims[i];
          at_in += k * p.in_stride[i];
          at_out += k * p.out_stride[i];
        }
        const int64_t first = job % strips * kTile, height = std::min(kTile, rows - first);
        const float* a = x + at_in + first;
        float* b = y + at_out + first * so;
        for (int64_t c = 0; c < columns; c += kTile) {
          const int64_t width = std::min(kTile, columns - c);
          int64_t j = 0;
          for (; j + 4 <= height; j += 4) {
            int64_t i = 0;
            for (; i + 4 <= width; i += 4) transpose_4x4(a + (c + i) * si + j, si, b + j * so + c + i, so);
            for (; i < width; i++)
              for (int64_t k = j; k < j + 4; k++) b[k * so + c + i] = a[(c + i) * si + k];
          }
          for (; j < height; j++)
            for (int64_t i = 0; i < width; i++) b[j * so + c + i] = a[(c + i) * si + j];
        }
      }
    });
  }

  int64_t size_;
  bool fill_ = false;
  float value_ = 0;
  std::vector<trtact_copy_part> parts_;
};

class Channels : public Op {
 public:
  explicit Channels(const Desc& d) : out_(d.out(0)) {
    const auto& p = d.params<trtact_channels>();
    require(out_.blocked, "channels: the output must be blocked");
    for (int i = 0; i < d.raw.n_inputs; i++) {
      in_.emplace_back(d.in(i));
      require(in_[i].blocked && in_[i].space == out_.space && in_[i].n == out_.n,
              "channels: an input differs from the output in more than channels");
    }
    for (int i = 0; i < p.n_runs; i++) add(p.runs[i]);
  }
  void run(const Args& args) const override {
    const int64_t space = out_.space, pieces = static_cast<int64_t>(pieces_.size());
    parallel_rows(out_.n * pieces, space, kBlock, [&](int64_t i, int64_t from, int64_t to) {
      const int64_t n = i / pieces;
      const Piece& p = pieces_[i % pieces];
      float* y = args.out[0] + ((n * out_.blocks + p.to / kBlock) * space + from) * kBlock + p.to % kBlock;
      if (p.input < 0) return clear(y, to - from, p.count);
      const View& in = in_[p.input];
      const float* x = args.in[p.input] + ((n * in.blocks + p.from / kBlock) * space + from) * kBlock + p.from % kBlock;
      move(x, y, to - from, p.count);
    });
    if (out_.padded()) clear_padding(args.out[0]);
  }

 private:
  // A piece lies within one block of the input and one of the output.
  struct Piece {
    int32_t input;
    int64_t from, to, count;
  };

  void add(const trtact_channel_run& r) {
    require(r.input >= -1 && r.input < static_cast<int32_t>(in_.size()), "channels: no such input");
    require(r.from >= 0 && r.to >= 0 && r.count >= 0 && r.to + r.count <= out_.c &&
                (r.input < 0 || r.from + r.count <= in_[r.input].c),
            "channels: a run leaves its tensor");
    for (int64_t done = 0; done < r.count;) {
      const int64_t from = r.from + done, to = r.to + done;
      const int64_t count =
          std::min({r.count - done, kBlock - from % kBlock, kBlock - to % kBlock});
      pieces_.push_back({r.input, from, to, count});
      done += count;
    }
  }

  static void move(const float* x, float* y, int64_t space, int64_t count) {
    if (count == kBlock) {
      std::memcpy(y, x, space * kBlock * sizeof(float));
      return;
    }
    const auto fixed = [&](auto n) {
      for (int64_t s = 0; s < space; s++)
        std::memcpy(y + s * kBlock, x + s * kBlock, decltype(n)::value * sizeof(float));
    };
    if (count == 8) return fixed(std::integral_constant<int, 8>{});
    if (count == 4) return fixed(std::integral_constant<int, 4>{});
    if (count == 2) return fixed(std::integral_constant<int, 2>{});
    if (count == 1) return fixed(std::integral_constant<int, 1>{});
    for (int64_t s = 0; s < space; s++)
      for (int64_t l = 0; l < count; l++) y[s * kBlock + l] = x[s * kBlock + l];
  }

  static void clear(float* y, int64_t space, int64_t count) {
    for (int64_t s = 0; s < space; s++)
      for (int64_t l = 0; l < count; l++) y[s * kBlock + l] = 0;
  }

  void clear_padding(float* y) const {
    const int64_t used = out_.used(out_.blocks - 1);
    for (int64_t n = 0; n < out_.n; n++) {
      float* block = y + ((n + 1) * out_.blocks - 1) * out_.space * kBlock;
      for (int64_t s = 0; s < out_.space; s++)
        for (int64_t l = used; l < kBlock; l++) block[s * kBlock + l] = 0;
    }
  }

  View out_;
  std::vector<View> in_;
  std::vector<Piece> pieces_;
};

class Reorder : public Op {
 public:
  explicit Reorder(const Desc& d) {
    require(same_dims(d.in(0), d.out(0)), "reorder: shapes differ");
    reordering_ = Reordering(desc_of(d.in(0)), desc_of(d.out(0)));
    workspace_bytes = aligned(reordering_.scratch_bytes());
  }
  void run(const Args& args) const override {
    reordering_.run(args.in[0], args.out[0], args.workspace);
  }

 private:
  Reordering reordering_;
};

}  // namespace

std::unique_ptr<Op> make_copy(const Desc& d) { return std::make_unique<Copy>(d); }
std::unique_ptr<Op> make_channels(const Desc& d) { return std::make_unique<Channels>(d); }
std::unique_ptr<Op> make_reorder(const Desc& d) { return std::make_unique<Reorder>(d); }

}  // namespace trtact::cpu
