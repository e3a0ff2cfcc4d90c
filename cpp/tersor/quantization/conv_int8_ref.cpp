#include "tersor/quantization/int8_epilogue_ref.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void pad_int8_ref(const PadInt8& a) noexcept {
  const int64_t channels = a.plane_step ? (a.channels + 15) / 16 * 16 : a.image_channels;
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.columns; ++c) {
      for (int64_t k = 0; k < channels; ++k) {
        const int64_t row = a.first_row + r, column = c - a.left;
        const bool inside =
            0 <= row && row < a.height && 0 <= column && column < a.width && k < a.channels;
        const int64_t at =
            k / a.image_channels * a.plane_step + (r * a.columns + c) * a.image_channels;
        static_cast<int16_t*>(a.image)[at + k % a.image_channels] = static_cast<int16_t>(
            inside ? a.x[row * a.row_stride + column * a.pixel_stride + k] - a.zero_point : 0);
      }
    }
  }
}

void conv_int8_direct_ref(const ConvInt8Direct& a) noexcept {
  for (int64_t p = 0; p < a.count; ++p) {
    for (int64_t o = 0; o < a.out_channels; ++o) {
      const auto* w = static_cast<const int16_t*>(a.weights) +
                      o / 16 * a.segment_count * a.groups * 32 + o % 16 * 2;
      int32_t acc = a.epilogue.bias[o];
      for (int64_t s = 0; s < a.segment_count; ++s) {
        const auto* x = static_cast<const int16_t*>(a.image) + a.pixels[p] + a.segments[s];
        for (int64_t k = 0; k < a.groups; ++k, w += 32)
          acc += x[2 * k] * w[0] + x[2 * k + 1] * w[1];
      }
      finish_ref(a.epilogue, a.out, p * a.out.stride, o, acc);
    }
  }
}

}  // namespace tersor::quantization
