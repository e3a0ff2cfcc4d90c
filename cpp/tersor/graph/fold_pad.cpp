#include <algorithm>

#include "tersor/graph/passes.h"
#include "tersor/graph/rewrite.h"

namespace tersor::graph {
namespace {

bool takes_padding(const Node& node, const Ints& pads) {
  if (node.op == Op::conv) return true;
  if (node.op != Op::avg_pool) return false;  // max_pool pads with -infinity, not with 0
  const Ints &own = node.attributes.integers("pads"), &kernel = node.attributes.integers("kernel");
  const bool unpadded = std::all_of(own.begin(), own.end(), [](int64_t p) { return p == 0; });
  if (node.attributes.integer("ceil_mode") || !unpadded) return false;
  const size_t spatial = kernel.size();
  for (size_t i = 0; i < spatial; ++i) {
    if (pads[i + 2] >= kernel[i] || pads[i + 4 + spatial] >= kernel[i]) return false;
  }
  return true;
}

}  // namespace

int fold_pad(Graph& graph) {
  int count = 0;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    Node& node = graph.node(static_cast<NodeId>(i));
    if (node.op != Op::conv && node.op != Op::avg_pool) continue;
    const Links links(graph);
    const NodeId before = links.private_maker(node.inputs[0], Op::pad);
    if (before < 0) continue;
    const Node& pad = graph.node(before);
    const Ints& pads = pad.attributes.integers("pads");  // per axis, begins then ends
    const size_t rank = pads.size() / 2;
    const bool spatial_only =
        pads[0] == 0 && pads[1] == 0 && pads[rank] == 0 && pads[rank + 1] == 0;
    const bool positive = std::all_of(pads.begin(), pads.end(), [](int64_t p) { return p >= 0; });
    if (pad.attributes.text("mode") != "constant" || pad.attributes.real("value") != 0 ||
        !spatial_only || !positive || graph.edge(node.inputs[0]).qparams ||
        !takes_padding(node, pads)) {
      continue;
    }
    Ints own = node.attributes.integers("pads");
    for (size_t d = 0; d + 2 < rank; ++d) {
      own[d] += pads[d + 2];
      own[d + rank - 2] += pads[d + 2 + rank];
    }
    node.attributes.set("pads", own);
    if (node.op == Op::avg_pool) node.attributes.set("count_include_pad", int64_t{1});
    node.inputs[0] = pad.inputs[0];
    ++count;
  }
  if (count) remove_dead_nodes(graph);
  return count;
}

}  // namespace tersor::graph
