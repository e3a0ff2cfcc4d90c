// The int8 kernel of this CPU and the weights that it wants (spmm_int8.h). Private to
// cpp/tersor/sparse.
#pragma once

#include <cstdint>
#include <string>

#include "tersor/sparse/rows.h"
#include "tersor/sparse/spmm_int8.h"

namespace tersor::sparse {

struct Int8Kernels {
  // Quads where the CPU multiplies uint8 by int8 four at a time without saturating.
  static bool has_quads();

  bool quads;

  // Values, the bits of four codes: entries that pairs cannot multiply become two.
  SparseRows weights(const SparseRows& w) const;
  spmm_pairs_sig* kernel() const;
  std::string name() const;  // such as "spmm_pairs simd_avx2"
};

}  // namespace tersor::sparse
