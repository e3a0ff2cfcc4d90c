// Single numbers to and from the two 16-bit float formats, as bits. Arrays: quantization/cast.h.
//
// To 16 bits: round to nearest, ties to even; what rounds beyond the largest finite number becomes
// infinity; NaN becomes quiet and keeps its sign and the leading bits of its payload.
#pragma once

#include <cstdint>

#include "tersor/base/export.h"

namespace tersor {

TERSOR_API float half_to_float(uint16_t h);  // IEEE binary16
TERSOR_API uint16_t float_to_half(float f);
TERSOR_API float bfloat_to_float(uint16_t b);
TERSOR_API uint16_t float_to_bfloat(float f);

}  // namespace tersor
