#include "tersor/distillation/gradient.h"

#include <algorithm>

#include "tersor/base/threads.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

// About 20 us of work for a thread, several times what waking it costs.
constexpr std::size_t kGrain = 1 << 17;
constexpr std::size_t kChunk = 1024;

void scale(float* x, std::size_t n, float factor) {
  for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
}

}  // namespace

void scale_gradient(void* gradient, LogitType type, std::size_t n, float factor) {
  if (factor == 1) return;
  parallel_for(n, kGrain, [&](std::size_t begin, std::size_t end) {
    if (type == LogitType::float32) {
      return scale(static_cast<float*>(gradient) + begin, end - begin, factor);
    }
    std::uint16_t* const x = static_cast<std::uint16_t*>(gradient);
    float wide[kChunk];
    for (std::size_t i = begin; i < end; i += kChunk) {
      const std::size_t count = std::min(kChunk, end - i);
      widen_bfloat16_table.pick()(x + i, wide, count);
      scale(wide, count, factor);
      narrow_bfloat16_table.pick()(wide, x + i, count);
    }
  });
}

}  // namespace tersor::distillation
