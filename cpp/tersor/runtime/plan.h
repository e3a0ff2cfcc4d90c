// An immutable execution plan of one graph for one batch size: layouts, steps, arena offsets.
//
// Layouts. Spatial operators take and give channels-last data (rank >= 3); element-wise ones take
// the layout of their operands (channels-last wins when any is), `axis` operators that of their
// first data input with axes mapped; the others force the logical order. A change of layout is a
// reorder step, or an alias where no element moves (a network from Keras has none). Graph inputs
// and outputs, fed and tapped edges are in logical order.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

struct PlanOptions {
  StepOptions step;
  int threads = 1;       // most threads that a step of this plan is ever given
  std::string provider;  // "" or one that providers() knows
  std::map<std::string, std::string> choices;  // providers of nodes, asked before the others
  std::vector<std::string> inputs;   // partial execution: edges that are fed; empty = the graph's
  std::vector<std::string> outputs;  // edges wanted; empty = the graph's, or none if there are taps
  std::vector<std::string> taps;     // edges to look at on the way
};

struct PlannedStep {
  std::shared_ptr<const Step> step;
  graph::NodeId node = -1;           // in the graph (the last one of a fused group); -1: a reorder
  std::vector<int> inputs, outputs;  // indices into Plan::edges, -1 for absent
  std::vector<std::string> nodes;    // names of all nodes that it executes

  // What it was made from, for update_constant.
  Op op = Op::identity;
  Attributes attributes;  // physical
  int inner = -1;         // edge between a convolution and its fused add
  std::string post_activation = "none";
};

struct Tap {
  int step;  // observe after this step (-1: before the first)
  int edge;
};

struct Plan {
  int64_t batch = 1;
  PlanOptions options;
  std::deque<PlanEdge> edges;   // same index as graph edges, plus reorders, aliases and constants
  std::vector<int> graph_edge;  // per edge: the edge of the graph that it holds
  std::vector<PlannedStep> steps;
  std::vector<int> inputs, outputs;  // edge indices
  std::vector<Tap> taps;             // in the order of steps
  std::vector<int64_t> offsets;      // per edge, into the arena; -1: constant or caller's buffer
  std::vector<int> root;             // per edge: whose memory it shares (itself, when nobody's)
  size_t arena_bytes = 0;
  size_t arena_lower_bound_bytes = 0;
  size_t scratch_bytes = 0;
  size_t packed_bytes = 0;
};

// UnsupportedError names a node that no provider takes, ValueError an unknown edge.
TERSOR_API std::shared_ptr<const Plan> make_plan(const graph::Graph& graph, int64_t batch,
                                                 const PlanOptions& options);

// The same plan with the steps that use this constant of the graph made anew from its present
// value; everything else is shared with `plan`.
TERSOR_API std::shared_ptr<const Plan> update_constant(const Plan& plan, const graph::Graph& graph,
                                                       graph::EdgeId constant);

}  // namespace tersor::runtime
