// Kernels of dense layers with weight codes: raw pointers to packed operands (dense_codes.h).
//
// Four outputs are one block: their weights lie together, so that memory is read as one stream.
#pragma once

#include <cstdint>

namespace tersor::quantization {

inline constexpr std::int64_t kDenseRows = 4;  // outputs of a block

// Inputs are padded to `depth`, a multiple of kInt4Inputs or kInt8Inputs; the scales of a row to
// depth / group, at least 1, and 16 more floats may be read behind the last.
struct DenseCodesBlocks {
  const void* weights;
  const float* scale;       // [block][4][scale_stride]
  const float* zero_point;  // the same or null
  std::int64_t scale_stride;
  const float* bias;          // [4 * blocks], 0 where there is none
  std::int64_t first, end;    // blocks to compute
  std::int64_t outputs;       // of the layer
  std::int64_t depth, group;  // group: `depth` when an output has one scale
  const float* x;             // [rows][x_stride], arranged for int4
  std::int64_t rows, x_stride;
  float low, high;
  float* y;  // [rows][outputs]
};

// weights[block][depth / 128][4][16] are uint32: word i of output r holds the codes of inputs
// 128 b + 8 i + j in nibble j, plus 8 for j < 7 and as they are (two's complement) for j = 7. A
// nibble becomes a float where it stands, nibble * 16^j, so that x is divided by 16^j instead:
// arrange_int4 prepares it. groups: 8, 16, 32, 64 or multiples of 128.
inline constexpr std::int64_t kInt4Inputs = 128;
using dense_int4_sig = void(const DenseCodesBlocks& a) noexcept;

// What a block of 128 inputs becomes, 160 floats: [8][16] x[8 i + j] * 2^(14 - 4 j) at [j][i], then
// [16] -8 * (sum over j < 7 of x[8 i + j]) * 2^14, then [16] (sum over j < 8) * 2^14. 2^14 centers
// the range of exponents; the packed scales hold its inverse.
inline constexpr std::int64_t kArrangedFloats = 160;
using arrange_int4_sig = void(const float* x, std::int64_t n, float* arranged) noexcept;

// weights[block][depth / 16][4][16] are int8. groups: multiples of 16.
inline constexpr std::int64_t kInt8Inputs = 16;
using dense_int8_sig = void(const DenseCodesBlocks& a) noexcept;

}  // namespace tersor::quantization
