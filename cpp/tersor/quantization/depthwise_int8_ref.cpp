#include "tersor/quantization/int8_epilogue_ref.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void depthwise_int8_ref(const DepthwiseInt8& a) noexcept {
  for (int64_t p = 0; p < a.rows * a.columns; ++p) {
    const int16_t* x = a.image + p / a.columns * a.row_step + p % a.columns * a.column_step;
    for (int64_t c = 0; c < a.channels; ++c) {
      int32_t acc = a.epilogue.bias[c];
      for (int64_t t = 0; t < 2 * a.pairs; ++t) {
        acc += x[c / 16 * a.plane_step + a.taps[t] + c % 16] *
               a.weights[(c / 16 * a.pairs + t / 2) * 32 + c % 16 * 2 + t % 2];
      }
      finish_ref(a.epilogue, a.out, p * a.out.stride, c, acc);
    }
  }
}

}  // namespace tersor::quantization
