#include "tersor/runtime/plan_scope.h"

#include "tersor/base/error.h"
#include "tersor/runtime/plan.h"

namespace tersor::runtime {
namespace {

using graph::EdgeId;
using graph::Graph;
using graph::kNoEdge;
using graph::NodeId;

std::vector<EdgeId> edges_named(const Graph& graph, const std::vector<std::string>& names,
                                const char* what) {
  std::vector<EdgeId> edges;
  for (const std::string& name : names) {
    const EdgeId e = graph.find_edge(name);
    TERSOR_CHECK(e != kNoEdge, "session: ", what, " must name an edge of the graph, got '", name,
                 "'");
    TERSOR_CHECK(!graph.edge(e).is_constant(), "session: ", what,
                 " must not name a constant, got '", name, "'");
    edges.push_back(e);
  }
  return edges;
}

std::vector<bool> flags(const Graph& graph, const std::vector<EdgeId>& edges) {
  std::vector<bool> set(graph.edges().size(), false);
  for (const EdgeId e : edges) set[static_cast<size_t>(e)] = true;
  return set;
}

std::vector<bool> needed_nodes(const Graph& graph, const PlanScope& scope,
                               std::vector<EdgeId> pending) {
  const std::vector<NodeId> producers = graph.producers();
  std::vector<bool> needed(graph.nodes().size(), false);
  while (!pending.empty()) {
    const EdgeId e = pending.back();
    pending.pop_back();
    if (e == kNoEdge || scope.is_fed[static_cast<size_t>(e)] || graph.edge(e).is_constant()) {
      continue;
    }
    const NodeId n = producers[static_cast<size_t>(e)];
    TERSOR_CHECK(n >= 0, "session: graph input '", graph.edge(e).name,
                 "' must be fed, because an output needs it");
    if (needed[static_cast<size_t>(n)]) continue;
    needed[static_cast<size_t>(n)] = true;
    for (const EdgeId input : graph.node(n).inputs) pending.push_back(input);
  }
  return needed;
}

}  // namespace

PlanScope scope_of(const Graph& graph, const PlanOptions& options) {
  PlanScope scope;
  scope.fed = edges_named(graph, options.inputs, "inputs");
  scope.tapped = edges_named(graph, options.taps, "taps");
  scope.wanted = edges_named(graph, options.outputs, "outputs");
  if (options.inputs.empty()) scope.fed = graph.inputs();
  if (options.outputs.empty() && options.taps.empty()) scope.wanted = graph.outputs();
  std::vector<EdgeId> kept = scope.wanted;
  kept.insert(kept.end(), scope.tapped.begin(), scope.tapped.end());
  scope.is_fed = flags(graph, scope.fed);
  scope.is_kept = flags(graph, kept);
  scope.needed = needed_nodes(graph, scope, kept);
  return scope;
}

}  // namespace tersor::runtime
