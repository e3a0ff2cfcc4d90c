// From accumulators and codes to codes of another scale: the two arithmetics of int8 execution.
//
//   fast   clamp(rint(v + copysign(h, v)) + zero_point, low, high), v = float(sum) * m, rint = half
//   to even,
//          m = float(multiplier)
//   exact  requantize_c99.h: a 31-bit multiplier and two roundings, as TFLite Micro
//
// h = 2^(shift - 1) (0 where shift >= 0) is what the first rounding of `exact` adds: it moves a sum
// that is half a unit of 2^shift short of a tie up to the tie, which the second rounding takes away
// from zero. Without h a sum in 1 / m, and so up to 1 % of the codes, would differ, and networks of
// 20 layers disagree on 0.8 % of their classes; with it fewer than 1 in 1,000 do
// (tests/compress/test_accuracy.py).
//
// All real multipliers are computed here, in double precision from the float scales, so that
// kernels, reference and generated C hold the same numbers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

namespace c99 {
#include "tersor/quantization/requantize_c99.h"
}

// value = mantissa * 2^(shift - 31), 2^30 <= mantissa < 2^31 (or 0: below 2^-32). Rounded half away
// from zero.
struct FixedMultiplier {
  int32_t mantissa = 0;
  int32_t shift = 0;
};
TERSOR_API FixedMultiplier fixed_multiplier(double value);

// s_in * s_weight / s_out; the fast form is its float.
inline double requantize_multiplier(float input, float weight, float output) {
  return static_cast<double>(input) * static_cast<double>(weight) / static_cast<double>(output);
}

// Codes that an activation ("none", "relu", "relu6") leaves on an edge of per-tensor parameters;
// ValueError on another name. The bound of relu6 is round(6 / scale) half away from zero, as
// TFLite.
struct CodeRange {
  int32_t low = -128;
  int32_t high = 127;
};
TERSOR_API CodeRange activation_codes(const std::string& activation, const QParams& output);

// rint(v) + zero_point, clamped before it leaves the float range. |v| may be anything but NaN.
inline int32_t round_code(float v, int32_t zero_point, CodeRange range) {
  const auto low = static_cast<float>(range.low - zero_point);
  const auto high = static_cast<float>(range.high - zero_point);
  const float bounded = v < low ? low : v > high ? high : v;
  return static_cast<int32_t>(__builtin_rintf(bounded)) + zero_point;
}

// One accumulator to a code.
struct Requantizer {
  float multiplier = 0;
  float rounding_offset = 0;
  FixedMultiplier fixed;
  int32_t zero_point = 0;
  CodeRange range;

  int32_t fast(int32_t sum) const {
    const float v = static_cast<float>(sum) * multiplier;
    return round_code(v + __builtin_copysignf(rounding_offset, v), zero_point, range);
  }
  int32_t exact(int32_t sum) const {
    return c99::tersor_requantize(sum, fixed.mantissa, fixed.shift, zero_point, range.low,
                                  range.high);
  }

  // A multiplier of at least 1/2 or of at most 11 significant bits: so many sums fall on a tie that
  // only the integers round them alike. Operators on codes, whose scales are often powers of two
  // apart, then use `exact` in both arithmetics; weights do not bring such multipliers.
  bool often_ties() const { return fixed.shift >= 0 || (fixed.mantissa & 0xFFFFF) == 0; }
};
TERSOR_API Requantizer requantizer(double multiplier, const QParams& output, CodeRange range = {});

// n accumulators to codes; requantizers[i % size] belongs to element i (channels last).
TERSOR_API void requantize(const int32_t* sums, int8_t* codes, size_t n,
                           const std::vector<Requantizer>& requantizers, bool exact);

// Two codes to the code of a +- b:
//   fast   clamp(rint(m_a * float(a - z_a) +- m_b * float(b - z_b)) + zero_point), m_a = s_a /
//   s_out exact  both at the larger input scale times 2^20, added, scaled down
struct CodeAdder {
  int32_t zero_point_a = 0, zero_point_b = 0;
  int32_t sign = 1;
  float multiplier_a = 0, multiplier_b = 0;
  FixedMultiplier fixed_a, fixed_b;  // both at most 1/2
  Requantizer output;                // of the exact sum

  int32_t fast(int32_t a, int32_t b) const {
    const float scaled_a = multiplier_a * static_cast<float>(a - zero_point_a);
    const float scaled_b = multiplier_b * static_cast<float>(b - zero_point_b);
    return round_code(sign > 0 ? scaled_a + scaled_b : scaled_a - scaled_b, output.zero_point,
                      output.range);
  }
  int32_t exact(int32_t a, int32_t b) const {
    return c99::tersor_add_codes(a - zero_point_a, b - zero_point_b, sign, fixed_a.mantissa,
                                 fixed_a.shift, fixed_b.mantissa, fixed_b.shift,
                                 output.fixed.mantissa, output.fixed.shift, output.zero_point,
                                 output.range.low, output.range.high);
  }
};
TERSOR_API CodeAdder code_adder(const QParams& a, const QParams& b, const QParams& output,
                                bool subtract, CodeRange range = {});

// Mean of `count` codes whose sum is given, to the scale of the output. exact folds the count into
// the multiplier with the bits that it has to spare, as TFLite's QuantizedMeanOrSum.
TERSOR_API Requantizer mean_requantizer(const QParams& input, const QParams& output, int64_t count);

// The table of c99::tersor_softmax for input codes of `scale`.
TERSOR_API std::array<uint32_t, 256> softmax_table(float scale);

}  // namespace tersor::quantization
