// Which channels of a network hang together: what can be removed, and what has to go with it.
#pragma once

#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/graph.h"

namespace tersor::graph {

struct LayerChannel {
  NodeId node;
  int64_t channel;
};

// Channels that can only be removed together: those that a residual addition adds up, a channel and
// the filter of a depthwise convolution that reads it, the same place in every group of a grouped
// convolution.
struct ChannelUnit {
  int32_t group;
  std::vector<LayerChannel> made;  // output channels of layers
  std::vector<LayerChannel> read;  // input channels of layers; features of a dense layer one by one
};

struct Channels {
  std::vector<ChannelUnit> units;
  std::vector<std::vector<NodeId>> groups;     // layers (conv, conv_transpose, dense) whose output
                                               // channels are tied to each other, by first layer
  std::vector<int> axes;                       // per edge: the axis with channels, -1 where none
  std::vector<std::vector<int32_t>> units_of;  // per edge and place on that axis: unit, -1: stays
  std::vector<std::string> fixed;              // "<layer>: why its channels stay"
};

// Follows the channels of every layer through additions (zero-padded shortcuts too), concatenation,
// slices, pooling, depthwise and grouped convolutions, gates (squeeze-excite), transposes and
// flattening. Where an operator mixes channels (normalisation over them, attention) or shows them
// to the outside they stay, and so do those of layers that match a pattern of `excluded`
// (name_pattern.h). GraphError if the network is quantized, ValueError where a pattern matches no
// layer.
TERSOR_API Channels find_channels(const Graph& graph,
                                  const std::vector<std::string>& excluded = {});

// Sets of units (ascending) of which at least one each has to stay, or an edge has no channel left.
TERSOR_API std::vector<std::vector<int32_t>> cover(const Channels& channels);

// The network without the units whose `keep` is false: smaller weights, the same operators. What a
// removed channel gave to its readers is gone; nothing is repaired. ValueError unless keep has an
// entry per unit and leaves every edge a channel.
TERSOR_API Graph remove_channels(const Graph& graph, const Channels& channels,
                                 const std::vector<bool>& keep);

}  // namespace tersor::graph
