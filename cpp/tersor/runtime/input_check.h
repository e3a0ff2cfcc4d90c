// What a session demands of its inputs and outputs, in one sentence each.
#pragma once

#include <vector>

#include "tersor/graph/graph.h"

namespace tersor::runtime {

// dtype and shape of `edge`, with any leading batch where the edge leaves it open. `what` is
// "input" or "output".
void check_tensor(const graph::Edge& edge, const TensorView& view, const char* what);

// Outputs are written while inputs are still read (micro-batches): ValueError when an output shares
// memory with an input or with another output. Compares the spans between first and last element.
void check_apart(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs);
// No NaN or infinity in a float32, float64, float16 or bfloat16 tensor; the error says where.
void check_finite(const graph::Edge& edge, const TensorView& view);

}  // namespace tersor::runtime
