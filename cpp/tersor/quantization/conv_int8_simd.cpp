// Compiled once per instruction set (cmake/instruction_sets.cmake); conv_int8_avxvnni.cpp and
// conv_int8_avx512vnni.cpp compile it again with fused multiply-add of int16 pairs.
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

TERSOR_INLINE void widen_run(const int8_t* __restrict x, int64_t n, int32_t zero_point,
                             int16_t* __restrict y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<int16_t>(x[i] - zero_point);
}

TERSOR_INLINE void zero_run(int16_t* y, int64_t n) {
  __builtin_memset(y, 0, static_cast<size_t>(n) * sizeof(int16_t));
}

template <int kRows>
void direct_tile(const ConvInt8Direct& a, int64_t first, int64_t panel, const F32* multiplier) {
  const int16_t* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = a.image + a.pixels[first + r];
  I32 acc[kRows][kParts];
  for (int i = 0; i < kParts; ++i) {
    const I32 bias = load<I32>(a.epilogue.bias + 16 * panel + kLanes * i);
    for (int r = 0; r < kRows; ++r) acc[r][i] = bias;
  }
  const int16_t* weights = a.weights + panel * a.segment_count * a.pairs * 32;
  for (int64_t s = 0; s < a.segment_count; ++s, weights += a.pairs * 32) {
    multiply_panel<kRows>(acc, rows, a.segments[s], a.pairs, weights);
  }
  const int64_t rest = a.out_channels - 16 * panel;
  const int count = rest < 16 ? static_cast<int>(rest) : 16;
  for (int r = 0; r < kRows; ++r) {
    const int64_t at = (first + r) * a.out.stride + 16 * panel;
    finish(acc[r], a.epilogue, multiplier, count, output_at(a.out, at));
  }
}

template <int kRows>
void direct_rest(const ConvInt8Direct& a, int64_t first, int64_t panel, const F32* multiplier) {
  if constexpr (kRows > 0) {
    if (a.count - first >= kRows) {
      direct_tile<kRows>(a, first, panel, multiplier);
    } else {
      direct_rest<kRows - 1>(a, first, panel, multiplier);
    }
  }
}

}  // namespace

void TERSOR_SIMD_NAME(pad_int8)(const PadInt8& a) noexcept {
  if (a.left == 0 && a.columns == a.width && a.image_channels == a.channels &&
      a.pixel_stride == a.channels && a.first_row >= 0 && a.first_row + a.rows <= a.height) {
    const int64_t row = a.width * a.channels;
    widen_run(a.x + a.first_row * row, a.rows * row, a.zero_point, a.image);
    return;
  }
  const int64_t pitch = a.columns * a.image_channels;
  const int64_t left = a.left < a.columns ? a.left : a.columns;
  const int64_t inner = a.width < a.columns - left ? a.width : a.columns - left;
  const int64_t right = a.columns - left - inner;
  for (int64_t r = 0; r < a.rows; ++r) {
    int16_t* to = a.image + r * pitch;
    const int64_t row = a.first_row + r;
    if (row < 0 || row >= a.height) {
      zero_run(to, pitch);
      continue;
    }
    const int8_t* from = a.x + row * a.width * a.pixel_stride;
    zero_run(to, left * a.image_channels);
    to += left * a.image_channels;
    if (a.image_channels == a.channels && a.pixel_stride == a.channels) {
      widen_run(from, inner * a.channels, a.zero_point, to);
    } else {
      for (int64_t c = 0; c < inner; ++c) {
        widen_run(from + c * a.pixel_stride, a.channels, a.zero_point, to + c * a.image_channels);
        zero_run(to + c * a.image_channels + a.channels, a.image_channels - a.channels);
      }
    }
    zero_run(to + inner * a.image_channels, right * a.image_channels);
  }
}

// Panel by panel, so that a panel's weights stay in L1 while the band's pixels pass.
void TERSOR_SIMD_NAME(conv_int8_direct)(const ConvInt8Direct& a) noexcept {
  for (int64_t panel = 0; 16 * panel < a.out_channels; ++panel) {
    F32 multiplier[kParts];
    for (int i = 0; i < kParts; ++i) {
      multiplier[i] = load<F32>(a.epilogue.multiplier + 16 * panel + kLanes * i);
    }
    int64_t first = 0;
    for (; first + kTile <= a.count; first += kTile) direct_tile<kTile>(a, first, panel, multiplier);
    direct_rest<kTile - 1>(a, first, panel, multiplier);
  }
}

}  // namespace tersor::quantization
