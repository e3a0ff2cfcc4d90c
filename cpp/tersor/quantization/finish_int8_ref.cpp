#include "tersor/quantization/int8_epilogue_ref.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {

void finish_int8_ref(const FinishInt8& a) noexcept {
  for (int64_t p = 0; p < a.pixels; ++p) {
    for (int64_t c = 0; c < a.channels; ++c)
      finish_ref(a.epilogue, a.out, p * a.out.stride, c, a.sums[p * a.sums_stride + c]);
  }
}

}  // namespace tersor::quantization
