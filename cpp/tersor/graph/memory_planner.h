// Offsets of buffers in one arena: a pure function shared by the runtime and the C generator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::graph {

// A buffer of `bytes` alive from step `first` to step `last` (inclusive).
struct BufferRequest {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct BufferOverlap {   // buffers a and b may share memory although both are alive, when
  int a, b;              // offset(b) >= offset(a) + distance (in-place: distance 0)
  int64_t distance;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;
  int64_t total_bytes = 0;
  int64_t lower_bound_bytes = 0;  // largest sum of live buffers at one step
  bool optimal = false;           // proved: equals the lower bound or the search was exhaustive
};

// Offsets are multiples of `alignment`. Greedy by size first; then branch and bound until `node_limit` nodes
// were visited. Deterministic. O(n^2) for the greedy part.
TERSOR_API MemoryPlan plan_memory(const std::vector<BufferRequest>& buffers, int64_t alignment,
                                  const std::vector<BufferOverlap>& overlaps = {},
                                  int64_t node_limit = 20000);

}  // namespace tersor::graph
