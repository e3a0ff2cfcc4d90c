// Changes of layout between [N, C, spatial...] and [N, spatial..., C], with quantization on the
// way.
#pragma once

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// A step that copies `from` to `to`: the same logical tensor (rank >= 3 where layouts differ) in
// another layout, or another buffer. float32 to int8 or uint8 with qparams (per tensor) quantizes:
// clamp(round_half_even(x / scale) + zero_point), NaN gives zero_point. Otherwise dtypes are equal.
std::unique_ptr<Step> make_reorder_step(const PlanEdge& from, const PlanEdge& to);
bool can_reorder(const PlanEdge& from, const PlanEdge& to);

// A step for `to` axis i = `from` axis permutation[i] (physical) where that transposes the matrices
// of a batch, such as [N, H, W, C] to [N, C, H, W]; nullptr for other permutations.
std::unique_ptr<Step> make_transpose_step(const PlanEdge& from, const graph::Ints& permutation);

}  // namespace tersor::runtime
