// Dense layers whose weights are indices of 4 bits into a table of up to 16 floats, for few rows of
// input: the weights stay indices in memory, which is what such a layer waits for.
//
//   y[m, o] = act(bias[o] + sum over i of x[m, i] * table[o / group][index[o, i]])
//
// The floats of a table lie in registers and are looked up by shuffles: one of 16 floats (AVX-512),
// or four of 16 bytes each, the planes of the floats' bytes, which are then interleaved (AVX2,
// NEON). The values are the table's, to the bit. Sums are float32 in a fixed order that depends on
// the instruction set only: |error| <= (inputs + 8) * 2^-23 * sum over i of |x * table[index]|.
// On AVX2, large layers with one table are packed in columns instead, and products are looked up as
// integers of 28 bits (lookup_columns.h, which states the error: below that of float32 sums for
// inputs of one magnitude).
//
// A LookupDense is immutable; run() may be called concurrently with different scratch.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "tersor/base/export.h"

namespace tersor::codebook {

inline constexpr std::int64_t kLookupInputs = 64;  // inputs of a block of 32 bytes
inline constexpr std::int64_t kLookupEntries = 16;

// Byte b of a block holds the index of input b in its low half and that of input 32 + b in its high
// half. planes[table][4][16] are the bytes of the floats, lowest first.
struct LookupBlocks {
  const std::uint8_t* codes;  // [outputs][depth / 2]
  const float* tables;        // [tables][16]
  const std::uint8_t* planes;
  std::int64_t group;       // outputs that share a table
  std::int64_t first, end;  // outputs to compute
  std::int64_t depth;       // inputs, padded to a multiple of kLookupInputs
  const float* x;           // [depth], arranged
  const float* bias;        // or null
  float low, high;
  float* y;
};
using lookup_dense_sig = void(const LookupBlocks& a) noexcept;
// The order in which the kernel reads x[0..n), n a multiple of 32: as it is, or (AVX2)
// 0..3, 16..19, 4..7, 20..23, 8..11, 24..27, 12..15, 28..31 of every 32, which is how interleaving
// leaves weights.
using arrange_lookup_sig = void(const float* x, std::int64_t n, float* arranged) noexcept;

struct LookupWeights {
  std::int64_t outputs = 1, inputs = 1;
  const std::uint8_t* codes = nullptr;                  // [outputs][inputs], below k
  std::int64_t k = 16;                                  // 1..16
  std::int64_t group = 0;                               // outputs that share a table; 0: all
  const float* tables = nullptr;                        // [ceil(outputs / group)][k], finite
  const float* bias = nullptr;                          // [outputs], or null
  float low = -std::numeric_limits<float>::infinity();  // act: clamp to [low, high], NaN stays
  float high = std::numeric_limits<float>::infinity();
};

class TERSOR_API LookupDense {
 public:
  // Packs. ValueError if a size is not positive, k is not in [1, 16], or a code is k or more.
  explicit LookupDense(const LookupWeights& weights);
  ~LookupDense();
  LookupDense(LookupDense&&) noexcept;

  // x [rows, inputs], y [rows, outputs]. scratch: scratch_bytes(), 64-byte aligned.
  void run(const float* x, std::int64_t rows, float* y, void* scratch, int threads) const;

  std::size_t scratch_bytes() const;
  std::size_t packed_bytes() const;
  std::int64_t inputs() const;
  std::int64_t outputs() const;
  const char* kernel() const;  // such as "lookup_dense simd_avx2"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tersor::codebook
