// Weight-only quantization: a float operator whose constant weight is codes.
//
// conv, conv_transpose, dense and matmul whose data input and output are float32 may have a
// constant int8 (or uint8) weight with parameters of 2 to 8 bits, per tensor, channel or group,
// with integer or float zero points or a codebook. It stands for the reals of its codes. A dense
// layer with dynamic = 1 also quantizes its input, row by row in each call
// (quantization/dense_dynamic.h).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

// Whether the operator can have weight codes at all (its second input).
TERSOR_API bool takes_weight_codes(Op op);
// Whether it has.
TERSOR_API bool has_weight_codes(const Graph& graph, const Node& node);

// The reals of a constant with parameters, float32.
TERSOR_API Tensor real_values(const Tensor& codes, const QParams& q);

// What the weight of a layer becomes.
struct WeightFormat {
  int bits = 8;
  // Weights that share a scale, of those that make one output; 0: all of an output's.
  int group_size = 0;
  bool float_zero_point = false;
  bool least_squares = false;  // range search by squared error instead of the largest magnitude
  // Quantize the input too, in each call: dense layers with at most kMostDynamicInputs inputs;
  // other layers are left as they are. 8 bits, no groups.
  bool dynamic = false;
};

// The parameters that a format gives to the weight of a node. Scales are float16 values where their
// magnitudes allow, so that files hold 16 bits each.
TERSOR_API QParams weight_code_qparams(const Graph& graph, const Node& node,
                                       const WeightFormat& format);

// Rounds the float weights of the named nodes to nearest. Returns why nodes were left: their
// weight is not a float32 constant, another node uses it otherwise, it has no finite range.
// ValueError if a name is not that of such an operator or a format is not possible.
TERSOR_API std::map<std::string, std::string> quantize_weights_only(
    Graph& graph, const std::map<std::string, WeightFormat>& formats);

// Puts codes that were chosen elsewhere (second-order rounding) in the place of a node's weight.
// ValueError if they do not fit.
TERSOR_API void set_weight_codes(Graph& graph, const std::string& node, Tensor codes, QParams q);

// Weight codes become float32 weights, dynamic layers float layers. Returns how many. Int8 layers
// stay as they are.
TERSOR_API int decode_weights(Graph& graph);

// Codebooks go, values stay: weights of int8 layers become the int8 codes that their values are,
// and unless `only_int8` those of float layers float32. Returns how many.
TERSOR_API int decode_codebooks(Graph& graph, bool only_int8 = false);

// By node: index of the last pattern (with * and ?) that matches one of its names (name_pattern.h);
// -1 where none does. ValueError naming a pattern that matches nothing, and names close to it.
TERSOR_API std::vector<int> match_layers(const Graph& graph,
                                         const std::vector<std::string>& patterns);

}  // namespace tersor::graph
