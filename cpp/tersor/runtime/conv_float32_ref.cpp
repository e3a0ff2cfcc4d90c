#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

}  // namespace

void conv_line_float32_ref(const ConvLineFloat32& l) noexcept {
  for (int64_t i = 0; i < l.pixels; ++i) {
    for (int64_t c = 0; c < l.channels; ++c) {
      const float* panel = l.weights + c / kPanel * l.panel_stride + c % kPanel;
      float sum = l.bias ? l.bias[c] : 0.0f;
      for (int t = 0; t < l.taps; ++t) {
        const float* x = l.input + l.tap_input[t] + i * l.input_stride;
        const float* w = panel + l.tap_weight[t];
        for (int64_t k = 0; k < l.depth; ++k) sum += x[k] * w[k * kPanel];
      }
      float y = clamp(sum, l.low, l.high);
      if (l.residual) y = clamp(y + l.residual[i * l.residual_stride + c], l.post_low, l.post_high);
      l.output[i * l.output_stride + c] = y;
    }
  }
}

}  // namespace tersor::runtime
