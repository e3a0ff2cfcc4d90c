#include "tersor/runtime/plan_edges.h"

#include "tersor/base/error.h"
#include "tersor/runtime/layout.h"
#include "tersor/runtime/reorder.h"

namespace tersor::runtime {
namespace {

using graph::EdgeId;
using graph::NodeId;

size_t index(int i) { return static_cast<size_t>(i); }

}  // namespace

PlanEdges::PlanEdges(const graph::Graph& graph, Plan& plan)
    : graph_(graph), plan_(plan), at_(graph.edges().size(), {-1, -1}) {
  for (size_t i = 0; i < graph.edges().size(); ++i) {
    add(static_cast<EdgeId>(i), Layout::row_major);
  }
}

int PlanEdges::add(EdgeId e, Layout layout) {
  plan_.edges.emplace_back();
  plan_.graph_edge.push_back(e);
  plan_.root.push_back(static_cast<int>(plan_.edges.size()) - 1);
  set_layout(plan_.root.back(), layout);
  return plan_.root.back();
}

int PlanEdges::add_alias(EdgeId e, Layout layout, int of) {
  const int id = add(e, layout);
  plan_.root[index(id)] = plan_.root[index(of)];
  return id;
}

void PlanEdges::set_layout(int id, Layout layout) {
  const graph::Edge& source = graph_.edge(plan_.graph_edge[index(id)]);
  PlanEdge& edge = plan_.edges[index(id)];
  edge.name = source.name;
  edge.dtype = source.dtype;
  edge.layout = source.shape.size() >= 3 ? layout : Layout::row_major;
  edge.shape = physical_shape(with_batch(source.shape, plan_.batch), edge.layout);
  edge.qparams = physical_qparams(source.qparams, edge.layout, source.shape.size());
  edge.constant = source.constant;
}

void PlanEdges::make_available(EdgeId e, Layout layout, int id) {
  if (rank(e) < 3) layout = Layout::row_major;
  at_[index(e)][static_cast<size_t>(layout)] = id;
}

bool PlanEdges::has(EdgeId e, Layout layout) const {
  return rank(e) < 3 ? layout == Layout::row_major
                     : at_[index(e)][static_cast<size_t>(layout)] >= 0;
}

void PlanEdges::make_alias(EdgeId e, Layout layout, int of) {
  set_layout(e, layout);
  plan_.root[index(e)] = plan_.root[index(of)];
  make_available(e, layout, e);
}

int PlanEdges::in_layout(EdgeId e, Layout layout) {
  if (rank(e) < 3 || is_constant(e)) layout = Layout::row_major;
  int& id = at_[index(e)][static_cast<size_t>(layout)];
  if (id >= 0) return id;
  if (is_constant(e)) return id = e;
  const Layout other = layout == Layout::row_major ? Layout::channels_last : Layout::row_major;
  const int from = at_[index(e)][static_cast<size_t>(other)];
  TERSOR_CHECK(from >= 0, "session: edge '", graph_.edge(e).name,
               "' must be fed or computed from fed edges, got none of them");
  if (same_in_both_layouts(logical_shape(e))) {
    id = add_alias(e, layout, from);
  } else {
    id = add(e, layout);
    add_reorder(from, id);
  }
  return id;
}

int PlanEdges::operand(EdgeId e, Layout layout, size_t output_rank) {
  if (is_constant(e)) {
    if (layout == Layout::row_major || output_rank < 3) return in_layout(e, Layout::row_major);
    const int id = add(e, Layout::row_major);
    set_constant(id, output_rank, layout);
    return id;
  }
  if (layout == Layout::row_major || rank(e) >= output_rank || output_rank < 3) {
    return in_layout(e, layout);
  }
  // Fewer axes: ones in front; the caller made sure that no element moves.
  const int id = add_alias(e, Layout::row_major, in_layout(e, Layout::row_major));
  PlanEdge& edge = plan_.edges[index(id)];
  Shape padded(output_rank - rank(e), 1);
  padded.insert(padded.end(), edge.shape.begin(), edge.shape.end());
  edge.layout = layout;
  edge.shape = physical_shape(padded, layout);
  return id;
}

void PlanEdges::set_constant(int id, size_t output_rank, Layout layout) {
  const graph::Edge& source = graph_.edge(plan_.graph_edge[index(id)]);
  PlanEdge& edge = plan_.edges[index(id)];
  edge.constant = physical_constant(source.constant, output_rank, layout);
  edge.shape = edge.constant.shape();
  edge.layout = layout;
  edge.qparams = source.qparams;
  if (edge.qparams && edge.qparams->axis >= 0) {
    edge.qparams->axis += static_cast<int>(output_rank - source.shape.size());
    edge.qparams = physical_qparams(edge.qparams, layout, output_rank);
  }
}

void PlanEdges::add_reorder(int from, int to, const std::string& label, NodeId node) {
  PlannedStep planned;
  planned.step = make_reorder_step(at(from), at(to));
  planned.node = node;
  if (node >= 0) planned.op = graph_.node(node).op;
  planned.inputs = {from};
  planned.outputs = {to};
  planned.nodes = {label.empty() ? "reorder " + at(from).name : label};
  plan_.steps.push_back(std::move(planned));
}

}  // namespace tersor::runtime
