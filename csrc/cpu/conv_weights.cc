#include "conv_weights.h"

#include <cstring>

namespace trtact::cpu {
namespace {

// A tile is at most so large: twelve sums, three of dy and one of x fill AVX2's sixteen
// registers.
constexpr int64_t kTileBlocks = 3, kTileIns = 4;
constexpr int64_t kTileSums = kTileBlocks * kTileIns * kBlock;
// Positions at a time: dy's part for a tile then stays in the first-level cache.
constexpr int64_t kPositions = 256;

typedef float Lanes __attribute__((vector_size(kBlock * sizeof(float))));

inline const Lanes& lanes(const float* p) { return *reinterpret_cast<const Lanes*>(p); }
inline Lanes& lanes(float* p) { return *reinterpret_cast<Lanes*>(p); }

// What a tile walks over: rows of count positions each, and the distances in floats.
struct Walk {
  int64_t rows, count;
  int64_t x_row, x_step, x_in; // of rows, positions, input channels
  int64_t dy_row, dy_block;    // of rows, blocks of output channels
};

template <int Blocks, int Ins>
void add_tile(const float* x, const float* dy, const Walk& w, float* sums) {
  Lanes acc[Blocks][Ins] = {};
  for (int64_t r = 0; r < w.rows; r++) {
    const float *a = x + r * w.x_row, *b = dy + r * w.dy_row;
    for (int64_t o = 0; o < w.count; o++, a += w.x_step, b += kBlock) {
      Lanes d[Blocks];
      for (int k = 0; k < Blocks; k++) d[k] = lanes(b + k * w.dy_block);
      for (int i = 0; i < Ins; i++) {
        const Lanes v = a[i * w.x_in] - Lanes{}; // in every lane
        for (int k = 0; k < Blocks; k++) acc[k][i] += d[k] * v;
      }
    }
  }
  for (int k = 0; k < Blocks; k++)
    for (int i = 0; i < Ins; i++) lanes(sums + (k * kTileIns + i) * kBlock) += acc[k][i];
}

using AddTile = void (*)(const float*, const float*, const Walk&, float*);
constexpr AddTile kAddTile[kTileBlocks][kTileIns] = {
    {add_tile<1, 1>, add_tile<1, 2>, add_tile<1, 3>, add_tile<1, 4>},
    {add_tile<2, 1>, add_tile<2, 2>, add_tile<2, 3>, add_tile<2, 4>},
    {add_tile<3, 1>, add_tile<3, 2>, add_tile<3, 3>, add_tile<3, 4>}};

trtact_tensor blocked(trtact_tensor t) {
  t.layout = TRTACT_BLOCKED;
  return t;
}

}  // namespace

ConvWeights::ConvWeights(const trtact_conv& p, const trtact_tensor& x, const trtact_tensor& dy)
    : x_(x), dy_(blocked(dy)), w_(window_axis(p, x, dy, p.spatial - 1)) {
  if (p.spatial == 2) h_ = window_axis(p, x, dy, 0);
  tiles_ = (dy_.blocks + kTileBlocks - 1) / kTileBlocks;
  quads_ = (x_.c + kTileIns - 1) / kTileIns;
  taps_ = int64_t{h_.kernel} * w_.kernel;
}

size_t ConvWeights::workspace_bytes() const {
  return static_cast<size_t>(jobs() * kTileSums + dy_.blocks * kBlock) * sizeof(float);
}

ConvWeights::Job ConvWeights::job(int64_t i) const {
  const int64_t tile = i / taps_ / quads_, in = i / taps_ % quads_ * kTileIns;
  const int64_t block = dy_.blocks * tile / tiles_;
  return {block, dy_.blocks * (tile + 1) / tiles_ - block, in, std::min(kTileIns, x_.c - in), i % taps_};
}

void ConvWeights::run(const float* x, const float* dy, float* dw, float* dbias, float* workspace) const {
  float* const bias = workspace + jobs() * kTileSums;
  const int64_t step = std::max<int64_t>(1, kPositions / w_.out);
  parallel(jobs(), 1, [&](int64_t first, int64_t last) {
    std::memset(workspace + first * kTileSums, 0, static_cast<size_t>((last - first) * kTileSums) * sizeof(float));
    for (int64_t n = 0; n < x_.n; n++) {
      const float *xn = x + n * x_.blocks * x_.space * x_.lanes, *dyn = dy + n * dy_.blocks * dy_.space * kBlock;
      for (int64_t row = 0; row < h_.out; row += step) {
        const int64_t end = std::min<int64_t>(row + step, h_.out);
        for (int64_t i = first; i < last; i++) {
          const Job j = job(i);
          add(j, xn, dyn, row, end, workspace + i * kTileSums);
          if (dbias && adds_bias(j)) add_bias(j, dyn, row, end, n == 0 && row == 0, bias);
        }
      }
    }
    for (int64_t i = first; i < last; i++) {
      const Job j = job(i);
      store(j, workspace + i * kTileSums, dw);
      if (!dbias || !adds_bias(j)) continue;
      const int64_t o = j.block * kBlock;
      std::copy_n(bias + o, std::min(j.blocks * kBlock, dy_.c - o), dbias + o);
    }
  });
}

void ConvWeights::add(const Job& j, const float* x, const float* dy, int64_t from, int64_t to, float* sums) const {
  const int32_t ky = static_cast<int32_t>(j.tap) / w_.kernel, kx = static_cast<int32_t>(j.tap) % w_.kernel;
  const int64_t top = std::max<int64_t>(from, h_.first_output(ky)), bottom = std::min<int64_t>(to, h_.last_output(ky));
  const int64_t left = w_.first_output(kx), right = w_.last_output(kx);
  if (top >= bottom || left >= right) return;
  Walk w{};
  w.rows = bottom - top;
  w.count = right - left;
  w.x_row = h_.stride * w_.in * x_.lanes;
  w.x_step = w_.stride * x_.lanes;
  w.x_in = x_.blocked ? 1 : x_.space;
  w.dy_row = w_.out * kBlock;
  w.dy_block = dy_.space * kBlock;
  const int64_t at = int64_t{h_.index(static_cast<int32_t>(top), ky)} * w_.in + w_.index(static_cast<int32_t>(left), kx);
  x += (j.in / x_.lanes * x_.space + at) * x_.lanes + j.in % x_.lanes;
  dy += (j.block * dy_.space + top * w_.out + left) * kBlock;
  kAddTile[j.blocks - 1][j.ins - 1](x, dy, w, sums);
}

void ConvWeights::add_bias(const Job& j, const float* dy, int64_t from, int64_t to, bool first, float* sums) const {
  for (int64_t k = j.block; k < j.block + j.blocks; k++) {
    Lanes sum = {};
    for (int64_t s = from * w_.out; s < to * w_.out; s++) sum += lanes(dy + (k * dy_.space + s) * kBlock);
    lanes(sums + k * kBlock) = first ? sum : lanes(sums + k * kBlock) + sum;
  }
}

void ConvWeights::store(const Job& j, const float* sums, float* dw) const {
  for (int64_t k = 0; k < j.blocks; k++)
    for (int64_t i = 0; i < j.ins; i++)
      for (int64_t l = 0, o = (j.block + k) * kBlock; l < kBlock && o < dy_.c; l++, o++)
        dw[(o * x_.c + j.in + i) * taps_ + j.tap] = sums[(k * kTileIns + i) * kBlock + l];
}

}  // namespace trtact::cpu
