// What belongs to the codes of a codebook: decoding, and sums over the members of each code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::codebook {

// Codes of consecutive pieces of `step` values, each with a table of its own; the last piece may be
// short. table[i / step][codes[i]], tables of k entries.
struct CodedValues {
  const std::uint8_t* codes;
  std::size_t n, step;
  std::size_t k;

  std::size_t tables() const { return step == 0 ? 1 : (n + step - 1) / step; }
};

// out[i] = table[i / step][codes[i]]. ValueError "<operation>: ..." if a code is k or more.
TERSOR_API void decode_codes(const char* operation, const CodedValues& coded, const float* table,
                             float* out);
TERSOR_API void decode_codes(const char* operation, const CodedValues& coded, const double* table,
                             double* out);

// out[tables][k]: sum of x[i] over the members of each code, the gradient of a centroid where x is
// that of the values. In float64, over fixed pieces that are added in order: the same for any
// number of threads. ValueError if a code is k or more.
TERSOR_API void sum_members(const char* operation, const CodedValues& coded, const float* x,
                            double* out);

}  // namespace tersor::codebook
