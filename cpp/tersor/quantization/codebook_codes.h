// Codes of a codebook (QParams::codebook) to values and back.
//
//   value = scale[s] * codebook[table][code]
//   code  = the c whose codebook[table][c] is nearest to x / scale[s] (in float32); of two equally
//           near the lower one; of equal values the first. NaN: as x = 0.
#pragma once

#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

// ValueError "<op>: ..." unless tables and k fit: 1 <= tables <= rows with rows for each, k in
// [1, 256], bits = codebook_bits(k), unsigned codes, zero points 0, values finite and ascending.
TERSOR_API void check_codebook(const char* op, const Shape& shape, const QParams& q);

// Rows of the first dimension that share a table; 1 for a scalar.
TERSOR_API size_t rows_of_table(const Shape& shape, const QParams& q);

// C-contiguous; q was checked. Codes of k and more count as k - 1.
TERSOR_API void quantize_codebook(const float* x, const Shape& shape, const QParams& q,
                                  uint8_t* codes);
TERSOR_API void dequantize_codebook(const uint8_t* codes, const Shape& shape, const QParams& q,
                                    float* y);

}  // namespace tersor::quantization
