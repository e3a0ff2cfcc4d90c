// What of an edge's values the operators after it can tell apart.
#pragma once

#include "tersor/base/export.h"
#include "tersor/graph/placement.h"

namespace tersor::graph {

// Values below `lo` and above `hi` of the group's edges may be clamped without a change of more
// than half a code in what reads them: all readers are int8 functions that are flat there. Infinite
// where a reader, or being an output of the graph, needs all.
//   hard_sigmoid  [-beta / alpha, (1 - beta) / alpha]    hard_swish  [-3, inf)
//   sigmoid       |x| <= ln 511 = 6.24: 1 - sigmoid is half of 1 / 256 there
//   tanh          |x| <= atanh(255 / 256) = 3.12: half of 1 / 128
//   silu          [-8, inf): |silu| <= 0.0027 below, half a code of outputs that reach 1.1
//   relu, clip    what they let through
TERSOR_API quantization::Range useful_range(const Graph& graph, const Placement& placement,
                                            const EdgeGroup& group);

}  // namespace tersor::graph
