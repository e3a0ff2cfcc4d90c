// Compiled once per instruction set (cmake/instruction_sets.cmake); conv_int8_avxvnni.cpp and
// conv_int8_avx512vnni.cpp compile it again with fused multiply-add of int16 pairs.
#include "tersor/quantization/int8_direct.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

typedef int8_t Bytes __attribute__((vector_size(16)));
typedef int16_t Words __attribute__((vector_size(32)));

TERSOR_INLINE void widen_sixteen(const int8_t* x, Words zero_point, int16_t* y) {
  store(y, __builtin_convertvector(load<Bytes>(x), Words) - zero_point);
}

TERSOR_INLINE void widen_run(const int8_t* x, int64_t n, int32_t zero_point, int16_t* y) {
  const Words zero = static_cast<int16_t>(zero_point) - Words{};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) widen_sixteen(x + i, zero, y + i);
  if (i == n) return;
  if (n >= 16) {  // the last sixteen, some of them again
    widen_sixteen(x + n - 16, zero, y + n - 16);
  } else {
    for (; i < n; ++i) y[i] = static_cast<int16_t>(x[i] - zero_point);
  }
}

TERSOR_INLINE void zero_run(int16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, Words{});
  for (; i < n; ++i) y[i] = 0;
}

TERSOR_INLINE void widen_pixels(const PadInt8& a, const int8_t* from, int64_t count,
                                int64_t channels, int16_t* to) {
  if (channels == a.image_channels && a.pixel_stride == channels) {
    widen_run(from, count * channels, a.zero_point, to);
  } else if (channels == 16 && a.image_channels == 16) {
    const Words zero = static_cast<int16_t>(a.zero_point) - Words{};
    for (int64_t c = 0; c < count; ++c) widen_sixteen(from + c * a.pixel_stride, zero, to + 16 * c);
  } else {
    for (int64_t c = 0; c < count; ++c) {
      int16_t* pixel = to + c * a.image_channels;
      widen_run(from + c * a.pixel_stride, channels, a.zero_point, pixel);
      zero_run(pixel + channels, a.image_channels - channels);
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(pad_int8)(const PadInt8& a) noexcept {
  if (a.left == 0 && a.columns == a.width && a.image_channels == a.channels && a.plane_step == 0 &&
      a.pixel_stride == a.channels && a.row_stride == a.width * a.channels && a.first_row >= 0 &&
      a.first_row + a.rows <= a.height) {
    widen_run(a.x + a.first_row * a.row_stride, a.rows * a.row_stride, a.zero_point,
              static_cast<int16_t*>(a.image));
    return;
  }
  const int64_t pitch = a.columns * a.image_channels;
  const int64_t left = a.left < a.columns ? a.left : a.columns;
  const int64_t inner = a.width < a.columns - left ? a.width : a.columns - left;
  const int64_t planes = a.plane_step ? (a.channels + 15) / 16 : 1;
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t row = a.first_row + r;
    for (int64_t p = 0; p < planes; ++p) {
      int16_t* to = static_cast<int16_t*>(a.image) + p * a.plane_step + r * pitch;
      if (row < 0 || row >= a.height) {
        zero_run(to, pitch);
        continue;
      }
      const int64_t channels = a.plane_step && a.channels - 16 * p < 16 ? a.channels - 16 * p
                               : a.plane_step                           ? 16
                                                                        : a.channels;
      zero_run(to, left * a.image_channels);
      to += left * a.image_channels;
      widen_pixels(a, a.x + row * a.row_stride + 16 * p, inner, channels, to);
      zero_run(to + inner * a.image_channels, pitch - (left + inner) * a.image_channels);
    }
  }
}

void TERSOR_SIMD_NAME(conv_int8_direct)(const ConvInt8Direct& a) noexcept {
  with_finish(a.out, Direct<PairProduct>{a});
}

}  // namespace tersor::quantization
