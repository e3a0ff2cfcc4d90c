// The check that every door for arrays with QParams begins with. Private to the room.
#pragma once

#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

enum class Codebook : uint8_t { refused, taken };

// The layout of a tensor of this shape. ValueError "<op>: ..." if bits is not in [2, 8], the scales
// do not fit the shape, a scale is not finite and > 0, a zero point is no code (float: beyond
// 2^21), or there is a codebook that is not taken or not right (codebook_codes.h).
AffineShape checked_layout(const char* op, const Shape& shape, const QParams& q,
                           Codebook codebook = Codebook::refused);

}  // namespace tersor::quantization
