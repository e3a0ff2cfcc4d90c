#include "tersor/distillation/kernels.h"

namespace tersor::distillation {

void attention_map_ref(const float* x, std::size_t channels, std::size_t positions,
                       bool channels_last, float* map) noexcept {
  for (std::size_t j = 0; j < positions; ++j) {
    double sum = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      const double v = x[channels_last ? j * channels + c : c * positions + j];
      sum += v * v;
    }
    map[j] = static_cast<float>(sum);
  }
}

void attention_gradient_ref(const float* x, const float* factor, std::size_t channels,
                            std::size_t positions, bool channels_last, float* g) noexcept {
  for (std::size_t i = 0; i < channels * positions; ++i) {
    g[i] = x[i] * factor[channels_last ? i / channels : i % positions];
  }
}

}  // namespace tersor::distillation
