#include "tersor/pruning/blocks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tersor/base/threads.h"

namespace tersor::pruning {
namespace {

constexpr double kLargest = std::numeric_limits<float>::max();

// Infinite only where an entry is: sums of finite scores keep their order with others.
float narrow(double sum) {
  return static_cast<float>(std::isinf(sum) ? sum : std::clamp(sum, -kLargest, kLargest));
}

std::size_t grain(const BlockShape& s) {
  return std::max<std::size_t>(1, 16384 / std::max<std::size_t>(1, s.block_rows * s.columns));
}

}  // namespace

void block_scores(const float* x, const BlockShape& s, BlockScore kind, float* out) {
  const std::size_t across = s.across();
  parallel_for(s.down(), grain(s), [&](std::size_t begin, std::size_t end) {
    std::vector<double> sums(across);
    for (std::size_t b = begin; b < end; ++b) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::size_t r = b * s.block_rows; r < std::min(s.rows, (b + 1) * s.block_rows); ++r) {
        for (std::size_t a = 0; a < across; ++a) {
          const std::size_t last = std::min(s.columns, (a + 1) * s.block_columns);
          for (std::size_t c = a * s.block_columns; c < last; ++c) {
            const double v = x[r * s.columns + c];
            sums[a] += kind == BlockScore::sum ? v : kind == BlockScore::l1 ? std::fabs(v) : v * v;
          }
        }
      }
      for (std::size_t a = 0; a < across; ++a)
        out[b * across + a] = narrow(kind == BlockScore::l2 ? std::sqrt(sums[a]) : sums[a]);
    }
  });
}

void expand_blocks(const std::uint8_t* blocks, const BlockShape& s, std::uint8_t* mask) {
  const std::size_t across = s.across();
  parallel_for(s.down(), grain(s), [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin * s.block_rows; r < std::min(s.rows, end * s.block_rows); ++r) {
      const std::uint8_t* row = blocks + r / s.block_rows * across;
      for (std::size_t a = 0; a < across; ++a) {
        const std::size_t first = a * s.block_columns;
        std::fill(mask + r * s.columns + first,
                  mask + r * s.columns + std::min(s.columns, first + s.block_columns), row[a]);
      }
    }
  });
}

}  // namespace tersor::pruning
