// From a float graph, the place of its quantizers and their ranges to an int8 graph.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"
#include "tersor/graph/placement.h"
#include "tersor/quantization/qparams.h"

namespace tersor::graph {

using quantization::Range;

struct QuantizeOptions {
  bool dense_per_channel = false;    // TFLite's scheme has one scale for a dense layer
  bool search_weight_range = false;  // least squared error instead of the largest magnitude
  // Weights of 2 to 7 bits by node name: symmetric, narrow, a scale for each output channel.
  std::map<std::string, int> weight_bits = {};
  bool conv_per_tensor = false;  // one scale for a convolution too
};

// Parameters of every group: activations int8, asymmetric, per tensor. `ranges` has one entry per
// group; it is widened by the group's constants, and ignored where the group has fixed parameters
// or is all constant.
TERSOR_API std::vector<QParams> group_qparams(const Graph& graph, const Placement& placement,
                                              const std::vector<Range>& ranges);

// The int8 graph. Weights are symmetric in [-127, 127], per output channel (dense: per tensor
// unless asked; grouped conv_transpose: per tensor), with scale
//   s_w[c] >= max(max |w_c| / 127, |b_c| / (s_in * 2^30))
// so that the int32 bias at scale s_in * s_w[c] keeps 2^30 at most; channels of zeros take the
// median of the others. quantize, dequantize and requantize nodes stand at the borders; inputs and
// outputs of the graph keep name, type and order. Int8 edges keep the names of the float ones but
// where both are needed: then the added one is called "<name>/int8" or "<name>/float" (an output
// keeps its name in float).
TERSOR_API Graph apply_quantization(const Graph& graph, const Placement& placement,
                                    const std::vector<QParams>& qparams,
                                    const QuantizeOptions& options = {});

// The same weights on the quantizer's grid, in float32 (what apply_quantization rounds to), by
// node. nullopt for nodes that are not quantized layers. `qparams` as above.
TERSOR_API std::vector<std::optional<Tensor>> rounded_weights(const Graph& graph,
                                                              const Placement& placement,
                                                              const std::vector<QParams>& qparams,
                                                              const QuantizeOptions& options = {});

// Bias correction (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
// Correction", section 4.2, with measured instead of assumed means): adds to each quantized layer's
// bias the mean output that rounding its weights takes away,
//   b_c += mean over samples and positions of (w - rounded(w)) * x.
// The layer is linear, so the mean of its input over the samples is all that is needed: `means`
// maps the layer's input edge to a float32 tensor of the edge's shape with batch 1. Layers without
// a bias get one. Returns the number of layers corrected.
TERSOR_API int correct_biases(Graph& graph, const Placement& placement,
                              const std::vector<QParams>& qparams,
                              const std::map<EdgeId, Tensor>& means,
                              const QuantizeOptions& options = {});

}  // namespace tersor::graph
