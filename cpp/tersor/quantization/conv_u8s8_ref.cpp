#include "tersor/quantization/int8_epilogue_ref.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void pad_u8_ref(const PadInt8& a) noexcept {
  auto* image = static_cast<uint8_t*>(a.image);
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.columns; ++c) {
      for (int64_t k = 0; k < a.channels; ++k) {
        const int64_t row = a.first_row + r, column = c - a.left;
        const bool inside = 0 <= row && row < a.height && 0 <= column && column < a.width;
        const int32_t code =
            inside ? a.x[row * a.row_stride + column * a.pixel_stride + k] : a.zero_point;
        image[(r * a.columns + c) * a.channels + k] = static_cast<uint8_t>(code + 128);
      }
    }
  }
}

void conv_u8s8_ref(const ConvInt8Direct& a) noexcept {
  for (int64_t p = 0; p < a.count; ++p) {
    for (int64_t o = 0; o < a.out_channels; ++o) {
      const auto* w = static_cast<const int8_t*>(a.weights) +
                      o / 16 * a.segment_count * a.groups * 64 + o % 16 * 4;
      auto acc = static_cast<uint32_t>(a.epilogue.bias[o]);
      for (int64_t s = 0; s < a.segment_count; ++s) {
        const auto* x = static_cast<const uint8_t*>(a.image) + a.pixels[p] + a.segments[s];
        for (int64_t k = 0; k < 4 * a.groups; ++k)
          acc += static_cast<uint32_t>(x[k] * w[k / 4 * 64 + k % 4]);
        w += 64 * a.groups;
      }
      finish_ref(a.epilogue, a.out, p * a.out.stride, o, static_cast<int32_t>(acc));
    }
  }
}

}  // namespace tersor::quantization
