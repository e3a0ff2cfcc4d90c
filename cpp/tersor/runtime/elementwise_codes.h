// Element-wise arithmetic on int8 codes; formulas in quantization/requantize.h. Integers and
// correctly rounded floats only, so all variants are bit-equal.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/quantization/requantize.h"

namespace tersor::runtime {

// Operands as in BinaryFloat32 (elementwise_float32.h).
struct CodeOperands {
  const int8_t* a;
  ptrdiff_t a_row, a_step;
  const int8_t* b;
  ptrdiff_t b_row, b_step;
  int8_t* y;
  size_t rows, columns;
};

// y = adder(a, b), fast or exact: a + b or a - b.
using add_codes_sig = void(const CodeOperands& operands, const quantization::CodeAdder& adder,
                           bool exact) noexcept;

// y = requantizer((a - zero_a) * (b - zero_b)), fast or exact.
using mul_codes_sig = void(const CodeOperands& operands, int32_t zero_a, int32_t zero_b,
                           const quantization::Requantizer& requantizer, bool exact) noexcept;

// y[i] = requantizer(sums[i] - offset), fast or exact.
using requantize_sums_sig = void(const int32_t* sums, int8_t* y, size_t n, int32_t offset,
                                 const quantization::Requantizer& requantizer, bool exact) noexcept;

// y[i] = (sums[i] + offset) / count to the nearest code, ties away from zero (c99::tersor_average)
// in both arithmetics: a mean of four codes is a tie for every fourth sum, so half to even would
// differ on 12 % of the codes. |sums[i] + offset| <= 128 * count < 2^31.
using average_sums_sig = void(const int32_t* sums, int8_t* y, size_t n, int32_t offset,
                              int32_t count) noexcept;

// y[i] = table[x[i] + 128]; y may be x.
using map_codes_sig = void(const int8_t* x, int8_t* y, size_t n, const int8_t* table) noexcept;

}  // namespace tersor::runtime
