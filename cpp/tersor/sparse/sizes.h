// Arithmetic of sizes. Private to cpp/tersor/sparse.
#pragma once

#include <cstdint>

namespace tersor::sparse {

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
constexpr int64_t divide_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

}  // namespace tersor::sparse
