#include <cmath>

#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

float finished(const DenseCodesBlocks& a, int64_t o, float sum) {
  sum += a.bias[o];
  if (sum < a.low) return a.low;
  return sum > a.high ? a.high : sum;
}

}  // namespace

void arrange_int4_ref(const float* x, int64_t n, float* arranged) noexcept {
  for (int64_t b = 0; b < n; b += kInt4Inputs, arranged += kArrangedFloats) {
    for (int64_t i = 0; i < 16; ++i) {
      float sum = 0;
      for (int64_t j = 0; j < 8; ++j) {
        const int64_t k = b + 8 * i + j;
        const float value = k < n ? x[k] * 0x1p14f : 0.0f;
        arranged[16 * j + i] = std::ldexp(value, -4 * static_cast<int>(j));
        if (j == 7) arranged[128 + i] = -8 * sum;
        sum += value;
      }
      arranged[144 + i] = sum;
    }
  }
}

void dense_int4_ref(const DenseCodesBlocks& a) noexcept {
  for (int64_t o = kDenseRows * a.first; o < kDenseRows * a.end && o < a.outputs; ++o) {
    const int64_t block = o / kDenseRows, row = o % kDenseRows;
    const float* scale = a.scale + o * a.scale_stride;
    const float* zero = a.zero_point ? a.zero_point + o * a.scale_stride : nullptr;
    for (int64_t m = 0; m < a.rows; ++m) {
      float sum = 0;
      for (int64_t k = 0; k < a.depth; ++k) {
        const int64_t b = k / kInt4Inputs, i = k % kInt4Inputs / 8, j = k % 8;
        const auto* words = static_cast<const uint32_t*>(a.weights) +
                            ((block * (a.depth / kInt4Inputs) + b) * kDenseRows + row) * 16;
        int code = static_cast<int>(words[i] >> (4 * j) & 15);
        code = j < 7 ? code - 8 : code - (code & 8) * 2;
        const float* x = a.x + m * a.x_stride + b * kArrangedFloats;
        const float real = static_cast<float>(code) - (zero ? zero[k / a.group] : 0.0f);
        sum += std::ldexp(x[16 * j + i], 4 * static_cast<int>(j)) * scale[k / a.group] * real;
      }
      a.y[m * a.outputs + o] = finished(a, o, sum);
    }
  }
}

void dense_int8_ref(const DenseCodesBlocks& a) noexcept {
  for (int64_t o = kDenseRows * a.first; o < kDenseRows * a.end && o < a.outputs; ++o) {
    const int64_t block = o / kDenseRows, row = o % kDenseRows;
    const float* scale = a.scale + o * a.scale_stride;
    const float* zero = a.zero_point ? a.zero_point + o * a.scale_stride : nullptr;
    for (int64_t m = 0; m < a.rows; ++m) {
      const float* x = a.x + m * a.x_stride;
      float sum = 0;
      for (int64_t k = 0; k < a.depth; ++k) {
        const int64_t at = (block * (a.depth / 16) + k / 16) * 64 + row * 16 + k % 16;
        const auto code = static_cast<float>(static_cast<const int8_t*>(a.weights)[at]);
        sum += x[k] * scale[k / a.group] * (code - (zero ? zero[k / a.group] : 0.0f));
      }
      a.y[m * a.outputs + o] = finished(a, o, sum);
    }
  }
}

}  // namespace tersor::quantization
