#include "tersor/pruning/nm.h"

#include <algorithm>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/pruning/kernels.h"

namespace tersor::pruning {

void nm_mask(const char* operation, const float* scores, std::size_t outer, std::size_t length,
             std::size_t inner, std::int64_t n, std::int64_t m, bool absolute, std::uint8_t* mask) {
  TERSOR_CHECK(m >= 1 && m <= 1024, operation, ": m must be in [1, 1024], got ", m);
  TERSOR_CHECK(n >= 0 && n <= m, operation, ": n must be in [0, m], got ", n);
  const std::size_t slab = length * inner;
  if (slab == 0) return;
  const auto group = static_cast<std::size_t>(m), kept = static_cast<std::size_t>(n);
  const std::size_t grain = std::max<std::size_t>(1, 16384 / slab);
  parallel_for(outer, grain, [&](std::size_t begin, std::size_t end) {
    std::vector<std::uint32_t> keys(slab);
    for (std::size_t o = begin; o < end; ++o) {
      if (!score_keys_table.pick()(scores + o * slab, slab, absolute, keys.data()))
        throw ValueError(std::string(operation) + ": scores must be numbers, got nan");
      std::uint8_t* out = mask + o * slab;
      for (std::size_t first = 0; first < length; first += group) {
        const std::size_t last = std::min(length, first + group);
        for (std::size_t i = first; i < last; ++i) {
          for (std::size_t k = 0; k < inner; ++k) {
            const std::uint32_t own = keys[i * inner + k];
            std::size_t better = 0;  // m^2 comparisons a group: m is 4 to 32 in practice
            for (std::size_t j = first; j < i; ++j) better += keys[j * inner + k] >= own;
            for (std::size_t j = i + 1; j < last; ++j) better += keys[j * inner + k] > own;
            out[i * inner + k] = better < kept;
          }
        }
      }
    }
  });
}

}  // namespace tersor::pruning
