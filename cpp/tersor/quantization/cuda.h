// Quantization on a CUDA device: what affine.h, fake_quantize.h, lsq.h, cast.h, min_max.h and
// histogram.h define, for arrays in device memory. The same numbers as the CPU's kernels, bit for
// bit, but for sums (lsq).
//
// Every function enqueues on the stream and returns; nothing is copied to the host unless said.
// Pointers are device pointers of the current device, contiguous arrays. Values in device memory
// are not checked: a scale that is not > 0 gives numbers that mean nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/cuda/stream.h"
#include "tersor/quantization/affine.h"
#include "tersor/quantization/cast.h"
#include "tersor/quantization/histogram.h"

namespace tersor::quantization {

// Parameters, one per scale of the layout. `scale` null: one scale for all, by value.
struct DeviceQuantizer {
  const float* scale = nullptr;
  // At most one of them; both null: `one_zero`, which is a float zero point if `float_zero`.
  const std::int32_t* zero_point = nullptr;
  const float* zero_point_float = nullptr;
  float one_scale = 1, one_zero = 0;
  bool float_zero = false;
  // A float zero point is rounded half to even and clamped to [lo, hi], then counts as an integer.
  bool rounded = false;
  std::int32_t lo = -128, hi = 127;
};

using cuda::Number;
using cuda::Stream;

// affine.h and affine_float_zero.h. Codes are bytes: uint8 where hi > 127, else int8.
void quantize_affine_cuda(const void* x, Number type, std::uint8_t* q, const AffineShape& shape,
                          const DeviceQuantizer& p, Stream stream);
void dequantize_affine_cuda(const std::uint8_t* q, void* y, Number type, const AffineShape& shape,
                            const DeviceQuantizer& p, bool is_unsigned, Stream stream);
// The same with codes of 4 bits, two in a byte, the first in the lower half; `lo` < 0: signed.
void quantize_int4_cuda(const void* x, Number type, std::uint8_t* packed, const AffineShape& shape,
                        const DeviceQuantizer& p, Stream stream);
void dequantize_int4_cuda(const std::uint8_t* packed, void* y, Number type,
                          const AffineShape& shape, const DeviceQuantizer& p, Stream stream);

// fake_quantize.h; mask may be null. x and dy of bfloat16 are computed with in float32.
void fake_quantize_cuda(const void* x, void* y, Number type, std::uint8_t* mask,
                        const AffineShape& shape, const DeviceQuantizer& p, Stream stream);
void fake_quantize_backward_cuda(const void* dy, void* dx, Number type, const std::uint8_t* mask,
                                 std::size_t n, Stream stream);

// lsq.h; dscale and dzero have one element per scale, dzero may be null.
void lsq_backward_cuda(const void* dy, const void* x, void* dx, Number type,
                       const AffineShape& shape, const DeviceQuantizer& p, double gradient_scale,
                       float* dscale, float* dzero, Stream stream);

// cast.h.
void cast_to_cuda(const float* x, void* y, std::size_t n, FloatFormat format, Stream stream);
void cast_from_cuda(const void* x, float* y, std::size_t n, FloatFormat format, Stream stream);

// Smallest and largest value per scale to ranges[scales][2], *nan != 0 where there is a NaN.
void min_max_cuda(const void* x, Number type, const AffineShape& shape, float* ranges,
                  std::int32_t* nan, Stream stream);
// Waits for the stream. ValueError as min_max and Histogram::add.
std::vector<Range> min_max_scales_cuda(const void* x, Number type, const AffineShape& shape,
                                       const char* what, Stream stream);
Histogram histogram_cuda(const void* x, Number type, std::size_t n, const char* what,
                         Stream stream);

// Rows of x [rows][inputs] to codes [rows][pitch], zeros behind the inputs; pitch a multiple of 8.
struct DeviceRows {
  const void* x = nullptr;
  Number type = Number::float32;
  std::size_t rows = 0, inputs = 0, pitch = 0;
};
// dense_dynamic.h: a scale and a zero point for every row; a row that is not finite gets scale NaN
// and codes 0.
void quantize_rows_cuda(const DeviceRows& rows, std::int8_t* codes, float* scale,
                        std::int32_t* zero, Stream stream);
// Codes of e4m3: scale[m] = max(largest |x[m]| / 448, 2^-126), or 1 for a row of zeros, and NaN as
// above; code = the nearest number of the format to x / scale.
void quantize_rows_float8_cuda(const DeviceRows& rows, std::uint8_t* codes, float* scale,
                               Stream stream);

// y[m, o] = clamp((sums[m, o] - zero[m] * weight_sum[o]) * (row_scale[m] * scale[o]) + bias[o],
// low, high) of sums [rows][pitch], pitch a multiple of 8; integers modulo 2^32, then float32
// without contraction: the bits of dense_dynamic.h. NaN stays.
struct DeviceFinish {
  const void* sums = nullptr;  // int32, or float32 with float_sums
  bool float_sums = false;
  std::size_t rows = 0, outputs = 0, pitch = 0;
  bool one_row = false, one_scale = false;   // one for all rows, one for all outputs
  const float* row_scale = nullptr;          // [rows]
  const std::int32_t* zero = nullptr;        // [rows], or null
  const float* scale = nullptr;              // [outputs]
  const std::int32_t* weight_sum = nullptr;  // [outputs], where there are zero points
  const float* bias = nullptr;               // [outputs], or null
  float low = 0, high = 0;
};
void finish_rows_cuda(const DeviceFinish& finish, void* y, Number type, Stream stream);

// A dense layer of few rows with weights of 4 bits, as dense_codes.h defines it; the bound of its
// error is that of float32 sums in any order, for finite x. Groups are whole multiples of 32
// inputs, or 0: a scale per output. Codes lie in one of two orders:
//   rows of inputs / 2 bytes, two codes in a byte, the first in the lower half (any device), or
//   tiled, for tensor cores (compute capability 8.0): rows padded to pieces of 128 codes, in which
//     byte 16 t + 4 w + i is byte 16 w + 4 t + i of the order above; groups 0, 32, 64 or a multiple
//     of 128, where 32 and 64 have scales for the padding, too.
struct DeviceDenseInt4 {
  const std::uint8_t* codes = nullptr;  // [outputs][bytes of a row], aligned to 16 bytes
  bool is_signed = true, tiled = false;
  std::size_t outputs = 0, inputs = 0, group = 0;
  const float* scale = nullptr;       // [outputs][ceil(inputs / group)]
  const float* zero_point = nullptr;  // the same, or null
  const float* bias = nullptr;        // [outputs], or null
  float low = 0, high = 0;
};
// x [rows][inputs], y [rows][outputs].
void dense_int4_cuda(const DeviceDenseInt4& layer, const void* x, Number type, std::size_t rows,
                     float* y, Stream stream);

}  // namespace tersor::quantization
