// N:M masks: of every m consecutive entries along an axis, the n with the highest scores.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::pruning {

// mask and scores are [outer][length][inner]; groups run along the middle axis from its beginning,
// and a short one at the end keeps min(n, its length). Scores count by magnitude if `absolute`. Of
// equal scores the one with the lower index is kept. ValueError, naming the operation, if a score
// is NaN, or unless 0 <= n <= m and 1 <= m <= 1024.
TERSOR_API void nm_mask(const char* operation, const float* scores, std::size_t outer,
                        std::size_t length, std::size_t inner, std::int64_t n, std::int64_t m,
                        bool absolute, std::uint8_t* mask);

}  // namespace tersor::pruning
