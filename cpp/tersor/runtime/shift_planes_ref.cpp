#include "tersor/runtime/kernels.h"

namespace tersor::runtime {

void shift_planes_ref(const ShiftPlanes& p) noexcept {
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t k = 0; k < p.copies; ++k) {
      for (int64_t j = 0; j < p.pitch; ++j) {
        p.planes[c * p.plane + k * p.copy + j] = p.row[c * p.row_stride + k * p.shift + j * p.step];
      }
    }
  }
}

}  // namespace tersor::runtime
