// Which part of a graph a plan runs.
#pragma once

#include <string>
#include <vector>

#include "tersor/graph/graph.h"

namespace tersor::runtime {

struct PlanOptions;

struct PlanScope {
  std::vector<graph::EdgeId> fed, wanted, tapped;
  std::vector<bool> is_fed;   // by edge
  std::vector<bool> is_kept;  // by edge: an output or a tap, so it must exist by itself
  std::vector<bool> needed;   // by node: something wanted or tapped depends on it
};

// The edges that the options name; without names the graph's inputs and, unless there are taps, its
// outputs. ValueError if a name is not that of an edge, or is that of a constant, or if an output
// or a tap needs a graph input that is not fed.
PlanScope scope_of(const graph::Graph& graph, const PlanOptions& options);

}  // namespace tersor::runtime
