// The check that every door for arrays with QParams begins with. Private to the room.
#pragma once

#include "tersor/quantization/qparams.h"

namespace tersor::quantization {

// The layout of a tensor of this shape. ValueError "<op>: ..." if bits is not in [2, 8], the scales
// do not fit the shape, a scale is not finite and > 0, or a zero point is no code (float: beyond
// 2^21).
AffineShape checked_layout(const char* op, const Shape& shape, const QParams& q);

}  // namespace tersor::quantization
