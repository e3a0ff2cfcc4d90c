#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

}  // namespace

void depthwise_line_float32_ref(const DepthwiseLineFloat32& l) noexcept {
  for (int64_t i = 0; i < l.pixels; ++i) {
    for (int64_t c = 0; c < l.channels; ++c) {
      float sum = l.bias ? l.bias[c] : 0.0f;
      for (int r = 0; r < l.rows; ++r) {
        for (int s = 0; s < l.columns; ++s) {
          sum += l.input[i * l.input_stride + r * l.row_stride + s * l.column_stride + c] *
                 l.weights[(r * l.weight_row + s) * l.weight_stride + c];
        }
      }
      float y = clamp(sum, l.low, l.high);
      if (l.residual) y = clamp(y + l.residual[i * l.residual_stride + c], l.post_low, l.post_high);
      l.output[i * l.output_stride + c] = y;
    }
  }
}

}  // namespace tersor::runtime
