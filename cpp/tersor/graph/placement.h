// Where the quantizers of an int8 network go: the one answer shared by post-training quantization
// and quantization-aware training.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

// What the nodes whose name, output edge or weight origin matches `pattern` (with * and ?) become.
struct LayerRule {
  std::string pattern;
  std::string values;  // "int8" or "fp32"
};

// Edges that share one scale and zero point.
struct EdgeGroup {
  std::vector<EdgeId> edges;
  std::vector<EdgeId> sources;   // the members that are not copies of others: they decide the range
  std::optional<QParams> fixed;  // given by an operator (sigmoid, tanh, softmax)
};

struct NodePlacement {
  bool quantized = false;
  std::string reason;  // why the node stays in float; empty where it is quantized
};

struct Placement {
  std::vector<NodePlacement> nodes;  // by NodeId
  std::vector<int> group_of;  // by EdgeId: index into groups, -1 for an edge only seen in float
  std::vector<EdgeGroup> groups;
};

// For a canonical float32 graph. Every node that has an int8 form gets it, unless
//   - the last rule that matches says fp32;
//   - its sums could overflow: taps of one output * 255 * 127 + 2^30 (the bias) must stay below
//   2^31;
//   - it is a prelu of more than one constant slope (one is a leaky_relu in int8);
//   - its weight is not constant; or it is a matmul of two activations, or a softmax, that no rule
//   names;
//   - no convolution or dense layer is joined to it through int8 edges, so that it would only add a
//     quantize and a dequantize.
// Nodes that copy values (constraint same) share one group between inputs and output. An input that
// has fixed parameters keeps them, and a requantize is due where they meet another group.
// GraphError if the graph has quantized edges already; ValueError if a rule is not "int8" or
// "fp32", or matches nothing.
TERSOR_API Placement place_quantizers(const Graph& graph, const std::vector<LayerRule>& rules = {});

// Data inputs of a node that carry codes when the node is quantized (not weights, biases or
// indices).
TERSOR_API std::vector<size_t> data_inputs(const Node& node);

// Products summed for one output value of a conv, conv_transpose or dense layer.
TERSOR_API int64_t taps_of(const Graph& graph, const Node& node);

// Edges whose values calibration must see: non-constant sources of the groups without fixed
// parameters.
TERSOR_API std::vector<EdgeId> calibration_edges(const Graph& graph, const Placement& placement);
// Data inputs of the quantized layers with weights: their means serve bias correction.
TERSOR_API std::vector<EdgeId> layer_inputs(const Graph& graph, const Placement& placement);

}  // namespace tersor::graph
