// Quantization straight to packed codes and back: one pass over memory instead of two.
//
//   quantize_packed(x)   = pack_bits(quantize(x))          qparams.h, coding/bit_packing.h
//   dequantize_packed(p) = dequantize(unpack_bits(p))
//
// byte for byte. `packed` has coding::packed_size(element_count(shape), q.bits) bytes.
#pragma once

#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

// ValueError as quantize and dequantize.
TERSOR_API void quantize_packed(const float* x, const Shape& shape, const QParams& q,
                                std::uint8_t* packed);
TERSOR_API void dequantize_packed(const std::uint8_t* packed, const Shape& shape, const QParams& q,
                                  float* y);

}  // namespace tersor::quantization
