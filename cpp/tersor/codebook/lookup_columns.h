// The columns form of a LookupDense (lookup_dense.h) with one table: products are looked up, not
// weights, and summed as integers.
//
// Inputs are cut into tiles of kTileInputs. For every input i of a tile and every entry c,
//
//   product[i][c] = min(rint(x[i] * table[c] * 2^e), 2^27 - 1),   2^26 <= X * T * 2^e < 2^27,
//
// where X and T are the largest |x| of the tile and |table|. Shifted by 2^27, a product is four
// digits of 7 bits, and 16 products are 64 bytes: four rows of 16 digits, lowest first, that a byte
// shuffle looks up for 32 outputs at once. Two digits fit a byte, 256 inputs of digits 16 bits, so
// that a weight costs 27 / 64 of a vector instruction where 32 bytes are a vector; looking up its
// four bytes (lookup_dense_simd.cpp) costs 36 / 64 and is limited by 24 shuffles.
//
// The sum of a tile is exact, its rounding to float32 is the only one:
//   |error| <= (inputs / kTileInputs + 4) * 2^-23 * sum over i of |x * table[index]|
//              + sum over tiles of (inputs of a tile with x != 0) * 2^-27 * X * T.
// The same on every instruction set and for any number of threads.
#pragma once

#include <cstdint>

#include "tersor/base/memory.h"
#include "tersor/codebook/lookup_dense.h"

namespace tersor::codebook {

inline constexpr std::int64_t kTileInputs = 256;  // 16 KiB of products, half of an L1
inline constexpr std::int64_t kColumnOutputs = 32;
inline constexpr std::int64_t kProductBytes = 64;  // of one input
inline constexpr int kProductBits = 27;

// The byte of a block that belongs to output o of it: sums of even and odd bytes are apart, and two
// of 16 bits are interleaved in halves of a register.
inline constexpr std::int64_t column_byte(std::int64_t o) {
  return o / 4 % 2 * 16 + 2 * (o / 8 % 2 * 4 + o % 4) + o / 16;
}

// The blocks of tile t begin at 32 * (t * kTileInputs / 2) * blocks bytes; each has 32 bytes for
// every two inputs of the tile: byte column_byte(o) holds the index of the first input in its low
// half and that of the second in its high half.
struct LookupTiles {
  const std::uint8_t* codes;
  const std::uint8_t* products;  // [inputs][64]
  const float* units;            // [tiles] 2^-e, 0 for a tile of zeros
  std::int64_t inputs;           // even
  std::int64_t blocks;           // of kColumnOutputs outputs
  std::int64_t first, end;       // blocks to compute
  float* sums;                   // [blocks * kColumnOutputs], set
};
using lookup_columns_sig = void(const LookupTiles& a) noexcept;

// products of n inputs; `table` and x are scaled so that |x * table| < 2^27.
using lookup_products_sig = void(const float* table, const float* x, std::int64_t n,
                                 std::uint8_t* products) noexcept;

class LookupColumns {
 public:
  // Whether this form is the faster one here: one table, enough outputs to make up for the
  // products of an input, shuffles of 32 bytes, and none of 16 floats.
  static bool pays(const LookupWeights& weights);

  // `table`: 16 entries.
  LookupColumns(const LookupWeights& weights, const float* table);

  // y without bias and bounds.
  void run(const float* x, float* y, void* scratch, int threads) const;
  std::size_t scratch_bytes() const;
  std::size_t packed_bytes() const { return codes_.size(); }

 private:
  bool scale_inputs(const float* x, float* scaled, float* units) const;
  void run_float(const float* x, float* y) const;

  std::int64_t outputs_, inputs_, even_, tiles_, blocks_;
  float table_[kLookupEntries], scaled_[kLookupEntries];
  float largest_ = 0;
  int exponent_ = 0;  // scaled_ = table_ * 2^-exponent_
  Buffer codes_;
};

}  // namespace tersor::codebook
