// Bytes as they are: four products per lane and instruction where int16 pairs have two. Compiled
// again by conv_u8s8_avxvnni.cpp.
#ifndef TERSOR_SIMD_NAME
#define TERSOR_SIMD_NAME(op) op##_avx512vnni
#endif
#include "tersor/quantization/int8_direct.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

struct QuadProduct {
  using Element = uint8_t;
  TERSOR_INLINE I32 add(I32 acc, I32 x, I32 w) {
#if defined(__AVX512VNNI__)
    return (I32)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)x, (__m512i)w);
#else
    return (I32)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)x, (__m256i)w);
#endif
  }
};

typedef uint8_t Bytes __attribute__((vector_size(32)));

// y = x + 128: the top bit flips.
TERSOR_INLINE void flip_run(const int8_t* x, int64_t n, uint8_t* y) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) store(y + i, load<Bytes>(x + i) ^ (uint8_t)0x80);
  for (; i < n; ++i) y[i] = static_cast<uint8_t>(x[i] ^ 0x80);
}

TERSOR_INLINE void fill_run(uint8_t* y, int64_t n, uint8_t value) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) store(y + i, value - Bytes{});
  for (; i < n; ++i) y[i] = value;
}

}  // namespace

void TERSOR_SIMD_NAME(pad_u8)(const PadInt8& a) noexcept {
  const auto border = static_cast<uint8_t>(a.zero_point + 128);
  const int64_t pitch = a.columns * a.channels;
  const int64_t left = a.left < a.columns ? a.left : a.columns;
  const int64_t inner = a.width < a.columns - left ? a.width : a.columns - left;
  auto* to = static_cast<uint8_t*>(a.image);
  if (left == 0 && inner == a.columns && inner == a.width && a.pixel_stride == a.channels &&
      a.row_stride == a.width * a.channels && a.first_row >= 0 &&
      a.first_row + a.rows <= a.height) {
    flip_run(a.x + a.first_row * a.row_stride, a.rows * a.row_stride, to);
    return;
  }
  for (int64_t r = 0; r < a.rows; ++r, to += pitch) {
    const int64_t row = a.first_row + r;
    if (row < 0 || row >= a.height) {
      fill_run(to, pitch, border);
      continue;
    }
    const int8_t* from = a.x + row * a.row_stride;
    fill_run(to, left * a.channels, border);
    if (a.pixel_stride == a.channels) {
      flip_run(from, inner * a.channels, to + left * a.channels);
    } else {
      for (int64_t c = 0; c < inner; ++c) {
        flip_run(from + c * a.pixel_stride, a.channels, to + (left + c) * a.channels);
      }
    }
    fill_run(to + (left + inner) * a.channels, pitch - (left + inner) * a.channels, border);
  }
}

void TERSOR_SIMD_NAME(conv_u8s8)(const ConvInt8Direct& a) noexcept {
  with_finish(a.out, Direct<QuadProduct>{a});
}

}  // namespace tersor::quantization
