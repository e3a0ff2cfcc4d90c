// What a session demands of its inputs and outputs, in one sentence each.
#pragma once

#include "tersor/graph/graph.h"

namespace tersor::runtime {

// dtype and shape of `edge`, with any leading batch where the edge leaves it open. `what` is
// "input" or "output".
void check_tensor(const graph::Edge& edge, const TensorView& view, const char* what);
// No NaN or infinity in a float32, float64, float16 or bfloat16 tensor; the error says where.
void check_finite(const graph::Edge& edge, const TensorView& view);

}  // namespace tersor::runtime
