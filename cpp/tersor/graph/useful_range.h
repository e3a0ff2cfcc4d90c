// Which of an edge's values the operators after it can tell apart.
#pragma once

#include "tersor/base/export.h"
#include "tersor/graph/placement.h"
#include "tersor/quantization/min_max.h"

namespace tersor::graph {

// Values of the group's edges may be clamped to this range without moving any int8 result by more
// than half a code: whatever reads them is a function that is flat outside. An end is infinite
// where a reader needs all values beyond; outputs of the graph are read by somebody.
//   hard_sigmoid  [-beta / alpha, (1 - beta) / alpha] for alpha > 0
//   hard_swish    [-3, inf)
//   relu, clip    what they let through
//   sigmoid       |x| <= 6.25: 1 - sigmoid(6.25) < 1 / 512, half a step of its output
//   tanh          |x| <= 3.13: 1 - tanh(3.13) < 1 / 256, likewise
//   silu          [-8, inf): |silu| < 0.0027 below, half a step of outputs that reach 1.1
TERSOR_API quantization::Range useful_range(const Graph& graph, const Placement& placement,
                                            const EdgeGroup& group);

}  // namespace tersor::graph
