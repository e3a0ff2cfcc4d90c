// Passes that only remove: dead nodes and operators that change nothing.
#include <algorithm>

#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

bool all_zero(const Ints& values) {
  return std::all_of(values.begin(), values.end(), [](int64_t v) { return v == 0; });
}

// x * 1, x / 1, x + 0, x - 0 with a scalar constant (of any rank) on the right.
bool neutral_operand(const Graph& graph, const Node& node) {
  const double neutral = node.op == Op::mul || node.op == Op::div ? 1 : 0;
  double value;
  return node.attributes.text("activation") == "none" &&
         scalar_value(graph, node.inputs[1], &value) && value == neutral;
}

bool changes_nothing(const Graph& graph, const Node& node) {
  const Edge &x = graph.edge(node.inputs[0]), &y = graph.edge(node.outputs[0]);
  if (x.dtype != y.dtype || x.shape != y.shape || x.qparams != y.qparams) return false;
  switch (node.op) {
    case Op::identity:
    case Op::cast:
    case Op::reshape:
    case Op::expand:
      return true;
    case Op::slice: {  // equal shapes with steps of 1 leave every element in place
      const Ints& steps = node.attributes.integers("steps");
      return std::all_of(steps.begin(), steps.end(), [](int64_t s) { return s == 1; });
    }
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
      return neutral_operand(graph, node);
    case Op::concat:
      return node.inputs.size() == 1;
    case Op::pad:
      return all_zero(node.attributes.integers("pads"));
    case Op::transpose: {
      const Ints& perm = node.attributes.integers("perm");
      return std::is_sorted(perm.begin(), perm.end());
    }
    default:
      return false;
  }
}

}  // namespace

int remove_dead_nodes(Graph& graph) {
  const std::vector<NodeId> makers = graph.producers();
  std::vector<bool> dead(graph.nodes().size(), true);
  std::vector<EdgeId> wanted = graph.outputs();
  while (!wanted.empty()) {
    const EdgeId id = wanted.back();
    wanted.pop_back();
    const NodeId maker = id == kNoEdge ? -1 : makers[static_cast<size_t>(id)];
    if (maker < 0 || !dead[static_cast<size_t>(maker)]) continue;
    dead[static_cast<size_t>(maker)] = false;
    const Node& node = graph.node(maker);
    wanted.insert(wanted.end(), node.inputs.begin(), node.inputs.end());
  }
  const auto count = static_cast<int>(std::count(dead.begin(), dead.end(), true));
  graph.remove_nodes(dead);  // also drops constants that nobody uses
  return count;
}

int remove_identities(Graph& graph) {
  std::vector<bool> dead(graph.nodes().size(), false);
  int count = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.node(static_cast<NodeId>(i));
    if (!changes_nothing(graph, node)) continue;
    const EdgeId from = node.inputs[0], to = node.outputs[0];
    const auto contains = [](const std::vector<EdgeId>& ids, EdgeId id) {
      return std::find(ids.begin(), ids.end(), id) != ids.end();
    };
    // A graph output that is a graph input or a constant, or returned twice, keeps its node and so
    // its name.
    if (contains(graph.outputs(), to) &&
        (contains(graph.outputs(), from) || contains(graph.inputs(), from) ||
         graph.edge(from).is_constant())) {
      continue;
    }
    take_over(graph, to, from);
    dead[i] = true;
    ++count;
  }
  if (count) graph.remove_nodes(dead);
  return count;
}

}  // namespace tersor::graph
