// Kernels of dense layers that quantize their input (dense_dynamic.h): in front of the int8 sums
// (conv_int8_kernels.h) and behind them.
#pragma once

#include <cstdint>

namespace tersor::quantization {

// Rows of x, n values each, to rows of `image`, pitch elements each, with zeros behind the n-th.
struct QuantizeRows {
  const float* x;
  std::int64_t rows, n, pitch;
  void* image;
  float* scale;        // [rows]: s, NaN for a row that has no finite range
  std::int32_t* zero;  // [rows]: what to take off an element of the image
};
// image: int16, q - z; zero is 0.
using quantize_rows_int16_sig = void(const QuantizeRows& a) noexcept;
// image: uint8, q + 128; zero is z + 128.
using quantize_rows_uint8_sig = void(const QuantizeRows& a) noexcept;

// y[m][o] = clamp(float(sums[m][o] - zero[m] * weight_sum[o]) * (row_scale[m] * scale[o]) +
// bias[o]), where y and the int32 sums are one array, `stride` elements from row to row. The
// difference is taken modulo 2^32. NaN stays.
struct FinishRows {
  float* y;
  std::int64_t rows, columns, stride;
  const float* row_scale;
  const std::int32_t* zero;
  const float* scale;
  const std::int32_t* weight_sum;
  const float* bias;
  float low, high;
};
using finish_rows_sig = void(const FinishRows& a) noexcept;

}  // namespace tersor::quantization
