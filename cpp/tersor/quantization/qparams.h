// Parameters of quantization: value = scale[s] * (code - zero_point[s]), or with a codebook
// value = scale[s] * codebook[table][code].
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/quantization/affine.h"
#include "tersor/quantization/min_max.h"
#include "tersor/tensor/dtype.h"
#include "tersor/tensor/shape.h"

namespace tersor::quantization {

struct QParams {
  std::vector<float> scale;         // layout(shape).scales() of them
  std::vector<int32_t> zero_point;  // same length; all 0 beside zero_point_float
  int bits = 8;                     // 2..8
  bool is_signed = true;
  bool narrow = false;  // symmetric codes [-(2^(bits-1) - 1), ...]: weights
  int axis = -1;        // first axis along which scales differ; -1: per tensor
  int group_size = 0;   // 0: one scale per index of the axes; else per so many of them in a row
  int axis_count = 1;   // consecutive axes, flattened together
  std::vector<float> zero_point_float;  // empty, or same length: the zero points then
  // Empty, or [codebook_tables][k]: what codes 0 to k - 1 stand for, ascending in each table. Codes
  // are unsigned then, of codebook_bits(k) bits, and zero points 0. The rows of the tensor (its
  // first dimension) are divided evenly: row r has table r / ceil(rows / codebook_tables).
  std::vector<float> codebook;
  int codebook_tables = 1;

  bool per_tensor() const { return axis < 0; }
  bool has_float_zero() const { return !zero_point_float.empty(); }
  bool has_codebook() const { return !codebook.empty(); }
  // k: values per table.
  size_t codebook_size() const { return codebook.size() / static_cast<size_t>(codebook_tables); }
  int32_t code_min() const { return is_signed ? -(1 << (bits - 1)) + (narrow ? 1 : 0) : 0; }
  int32_t code_max() const {
    if (has_codebook()) return static_cast<int32_t>(codebook_size()) - 1;
    return is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  }
  ScaleAxes axes() const { return {axis, axis_count, group_size}; }
  // Which scale belongs to which element of a tensor of this shape (affine.h). ValueError if the
  // axes do not exist.
  AffineShape layout(const Shape& shape) const { return affine_shape(shape, axes(), "qparams"); }
  double zero_of(size_t s) const { return has_float_zero() ? zero_point_float[s] : zero_point[s]; }
  bool operator==(const QParams&) const = default;
};

// Bits of the codes of a table of k values: at least 1.
constexpr int codebook_bits(size_t k) {
  int bits = 1;
  while (size_t{1} << bits < k) ++bits;
  return bits;
}

// How ranges become parameters. Symmetric means zero point 0 and narrow codes; otherwise all codes
// are used and the zero point is the code nearest to the range's zero, or a float.
struct QuantScheme {
  int bits = 8;
  bool is_signed = true;
  bool symmetric = false;
  bool float_zero_point = false;
  DType scale_dtype = DType::float32;  // or float16: values that 16 bits store without loss
};

// One scale per range. A range is first widened to hold 0, so that 0 is exactly a code:
//   symmetric   scale = max(|lo|, |hi|) / code_max
//   otherwise   scale = (hi - lo) / (2^bits - 1), zero_point = round_half_even(code_min - lo /
//   scale)
// computed in double and rounded to scale_dtype. An all-zero range gives scale 1 in an asymmetric
// scheme and for a single range; in a symmetric scheme with several ranges it takes the median of
// the others. Scales are at least 2^-126 (float16: 2^-24), so that x / scale stays finite for every
// x of the range.
//
// With float_zero_point the range is as it is and zero_point = code_min - lo / scale, rounded to
// scale_dtype; the scale is at least max(|lo|, |hi|) / 2^20 (float16: / 2^9), beyond which the zero
// point would lose the bits that tell codes apart.
//
// ValueError if ranges is empty, a bound is not finite, lo > hi, bits is not in [2, 8], the scheme
// contradicts itself, or a scale is beyond the largest float16.
TERSOR_API QParams choose_qparams(const std::vector<Range>& ranges, QuantScheme scheme,
                                  ScaleAxes axes = {});

// The scale of one range, 0 for an all-zero one of a symmetric scheme, and its zero point: what
// choose_qparams is made of. No checks.
struct ScaleAndZero {
  float scale = 0;
  float zero_point = 0;
};
TERSOR_API ScaleAndZero scale_and_zero(Range range, QuantScheme scheme);

enum class RangeMethod : uint8_t { minmax, percentile, mse, entropy };
TERSOR_API RangeMethod range_method_from_name(const std::string& name);  // ValueError lists them

// Parameters for float32 data of this shape, by range search per scale (range_search.h).
// ValueError on an empty x, NaN or infinity.
TERSOR_API QParams choose_qparams(const float* x, const Shape& shape, QuantScheme scheme,
                                  ScaleAxes axes, RangeMethod method, double percentile);

// A C-contiguous tensor to codes (int8, or uint8 where not q.is_signed) and back, as affine.h and
// affine_float_zero.h say; with a codebook to the code of the nearest value (of two, the lower; NaN
// to that nearest to 0). ValueError if the scales or tables do not fit the shape, or bits is not in
// [2, 8] (with a codebook: not codebook_bits).
TERSOR_API void quantize(const float* x, const Shape& shape, const QParams& q, void* codes);
TERSOR_API void dequantize(const void* codes, const Shape& shape, const QParams& q, float* y);

}  // namespace tersor::quantization
