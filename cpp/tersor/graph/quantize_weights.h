// Weights and biases of one quantized layer; private to cpp/tersor/graph.
#pragma once

#include <vector>

#include "tersor/graph/quantize.h"

namespace tersor::graph {

// Axis of the output channels in the weight of a conv, dense (0) or conv_transpose (1).
int weight_axis(const Node& node);

// Parameters of the layer's weight for an input of scale `input_scale` (quantize.h: the floor of
// s_w).
QParams weight_qparams(const Graph& graph, const Node& node, float input_scale,
                       const QuantizeOptions& options);

Tensor quantize_tensor(const Tensor& x, const QParams& q);        // float32 to int8 or uint8
Tensor dequantize_tensor(const Tensor& codes, const QParams& q);  // and back

// int32 codes and their parameters at scale input_scale * weight scale. GraphError if an
// accumulator could overflow.
struct QuantizedBias {
  Tensor codes;
  QParams qparams;
};
QuantizedBias quantize_bias(const Graph& graph, const Node& node, float input_scale,
                            const QParams& weight);

// Mean over positions of the layer's output for the input `mean` (batch 1) and float32 weights `w`,
// without bias: one value per output channel.
std::vector<double> mean_output(const Graph& graph, const Node& node, const Tensor& mean,
                                const Tensor& w);

}  // namespace tersor::graph
