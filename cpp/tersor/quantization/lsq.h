// Learned step size quantization: gradients of fake quantization also for its scale (LSQ: Esser et
// al., ICLR 2020, eq. 3 and 5) and its zero point (LSQ+: Bhalgat et al., CVPR Workshops 2020).
//
//   t = x / scale + zero                 forward: fake_quantize.h without a mask
//   inside = low < t < high              c = t <= low ? low : high where not inside
//   dx     = inside ? dy : 0
//   dscale = sum of dy * (inside ? round_half_even(t) - t : c - zero)
//   dzero  = sum of (inside ? 0 : -scale * dy)
//
// zero, low and high as there. LSQ+ writes the offset as beta = -scale * zero; its gradient is
// dzero / -scale. x is read again: nothing is saved but the caller's x. NaN counts for nothing
// (dx = 0). dx may be dy.
//
// Terms are rounded to float32 and added in an order that depends on the shape and the instruction
// set, never on the number of threads: |error of dscale| <= 1e-5 * sum of |terms|.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"
#include "tersor/quantization/affine.h"
#include "tersor/quantization/fake_quantize.h"

namespace tersor::quantization {

// One scale for n elements. Adds to sums[0] the terms of dscale and to sums[1] those dy that are
// not inside.
using lsq_backward_sig = void(const float* dy, const float* x, float* dx, std::size_t n,
                              float scale, float zero, float low, float high,
                              double* sums) noexcept;
// One scale per column; the same sums per column in sums[0..columns) and sums[columns..). At most
// kLsqRows rows.
inline constexpr std::size_t kLsqRows = 64;
using lsq_backward_columns_sig = void(const float* dy, const float* x, float* dx, std::size_t rows,
                                      std::size_t columns, const float* scale, const float* zero,
                                      const float* low, const float* high, float* sums) noexcept;

// dscale[s] and dzero[s] (may be null), both times gradient_scale, one per scale of the layout.
// ValueError as fake_quantize.
TERSOR_API void lsq_backward(const float* dy, const float* x, float* dx, const AffineShape& layout,
                             const FakeQuantizer& q, double gradient_scale, float* dscale,
                             float* dzero);

}  // namespace tersor::quantization
