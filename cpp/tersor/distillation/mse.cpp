#include "tersor/distillation/mse.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/distillation/kernels.h"
#include "tersor/distillation/rows.h"

namespace tersor::distillation {
namespace {

// About 20 us of work for a thread, several times what waking it costs.
constexpr std::size_t kBlocksPerThread = 8;

void check_finite(const char* operation, const char* name, const float* x, std::size_t n,
                  std::size_t first) {
  for (std::size_t i = 0; i < n; ++i) {
    TERSOR_CHECK(std::isfinite(x[i]), operation, ": ", name, " must be finite, got ", x[i],
                 " at element ", first + i);
  }
}

}  // namespace

double mean_squared_difference(const char* operation, const void* x, LogitType x_type,
                               const void* y, LogitType y_type, std::size_t n, void* gradient) {
  if (n == 0) return 0;
  const auto kernel = squared_differences_table.pick();
  const std::size_t blocks = (n + kDifferenceBlock - 1) / kDifferenceBlock;
  const bool narrow = gradient && x_type == LogitType::bfloat16;
  const float factor = static_cast<float>(2.0 / static_cast<double>(n));
  std::vector<double> sums(blocks);
  parallel_for(blocks, kBlocksPerThread, [&](std::size_t begin, std::size_t end) {
    float wide_x[kDifferenceBlock], wide_y[kDifferenceBlock], wide_g[kDifferenceBlock];
    for (std::size_t b = begin; b < end; ++b) {
      const std::size_t first = b * kDifferenceBlock;
      const std::size_t count = std::min(kDifferenceBlock, n - first);
      const float* a = as_float32(x, x_type, first, count, wide_x);
      const float* c = as_float32(y, y_type, first, count, wide_y);
      if (narrow) {
        sums[b] = kernel(a, c, count, factor, wide_g);
        if (std::isfinite(sums[b])) {
          narrow_bfloat16_table.pick()(wide_g, static_cast<std::uint16_t*>(gradient) + first,
                                       count);
        }
      } else {
        // The sum first where the gradient would destroy what an error should name.
        const bool over = gradient == x;
        if (over) sums[b] = kernel(a, c, count, factor, nullptr);
        if (!over || std::isfinite(sums[b])) {
          sums[b] = kernel(a, c, count, factor,
                           gradient ? static_cast<float*>(gradient) + first : nullptr);
        }
      }
      if (!std::isfinite(sums[b])) {
        check_finite(operation, "student", a, count, first);
        check_finite(operation, "teacher", c, count, first);
      }
    }
  });
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum / static_cast<double>(n);
}

}  // namespace tersor::distillation
