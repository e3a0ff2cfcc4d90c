// Cross-layer equalization (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization
// and Bias Correction", section 4.1): moves a factor per channel from one layer to the next, so
// that the channels of an edge reach equally far and share one scale well.
#pragma once

#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

struct EqualizeOptions {
  // relu6 becomes relu where it stands between two layers, and the pair is then equalized. This
  // changes the function where values exceed 6: measure before keeping it.
  bool through_relu6 = false;
};

struct EqualizedPair {
  std::string first, second;  // node names
  double least_factor = 1;    // of all channels, after all rounds
  double most_factor = 1;
  bool replaced_relu6 = false;
};

struct Equalization {
  std::vector<EqualizedPair> pairs;
  std::vector<std::string> left;  // "<layer>: why nothing could be moved through its output"
};

// For every layer (conv, conv_transpose, dense) and the layer that alone reads its output, directly
// or through operators that commute with a positive factor per channel (relu, leaky_relu, prelu,
// max and average pooling, spatial mean, resize, zero padding, flattening before a dense layer):
//   s_c = sqrt(max |w1_c| / max |w2_c|);  w1_c /= s_c, b1_c /= s_c, w2_c *= s_c,
// repeated over the graph until no factor moves by more than 0.1 %, so that chains settle together.
// w1_c: weights that make channel c, and an eighth of its bias where that is more; w2_c: weights
// that read it. The function is preserved up to rounding in float32. Channels whose weights are all
// zero on a side keep their factor.
TERSOR_API Equalization equalize(Graph& graph, const EqualizeOptions& options = {});

}  // namespace tersor::graph
