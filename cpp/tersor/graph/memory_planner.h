// Offsets of buffers in one arena: a pure function shared by the runtime and the C generator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::graph {

// A buffer of `bytes` alive from step `first` to step `last` (inclusive). Empty buffers get offset
// 0.
struct BufferRequest {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

// Buffers a (written) and b (read) may share memory although both are alive, when
// offset(b) >= offset(a) + distance: an operator that reads b upwards while it writes a upwards
// never overtakes itself (in place: distance 0).
struct BufferOverlap {
  int a = 0;
  int b = 0;
  int64_t distance = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;
  int64_t total_bytes = 0;
  int64_t lower_bound_bytes =
      0;                 // largest sum of live buffers at one step (less permitted overlaps)
  bool optimal = false;  // proved: equals the lower bound, or the search was exhaustive
};

// Offsets are multiples of `alignment`, sizes are rounded up to it. First the best of a few greedy
// orders (largest first, longest-lived first, by start), each buffer at its lowest free offset;
// then branch and bound over all orders of placement until `node_limit` nodes were visited.
// Deterministic. ValueError on a negative size, last < first, an alignment below 1, or an overlap
// that names no buffer.
TERSOR_API MemoryPlan plan_memory(const std::vector<BufferRequest>& buffers, int64_t alignment,
                                  const std::vector<BufferOverlap>& overlaps = {},
                                  int64_t node_limit = 20000);

}  // namespace tersor::graph
