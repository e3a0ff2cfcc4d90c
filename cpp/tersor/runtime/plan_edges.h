// Where the values of a graph are while a plan is made: in which layouts each edge exists, and the
// reorders and aliases that bring it into another.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "tersor/runtime/plan.h"

namespace tersor::runtime {

// The first edges of the plan are those of the graph, by the same index; edges that are added hold
// copies in another layout, aliases and permuted constants. Edges of rank below 3 have one layout.
class PlanEdges {
 public:
  PlanEdges(const graph::Graph& graph, Plan& plan);

  Shape logical_shape(graph::EdgeId e) const {
    return with_batch(graph_.edge(e).shape, plan_.batch);
  }
  size_t rank(graph::EdgeId e) const { return graph_.edge(e).shape.size(); }
  bool is_constant(graph::EdgeId e) const { return graph_.edge(e).is_constant(); }
  const PlanEdge& at(int id) const { return plan_.edges[static_cast<size_t>(id)]; }

  // A new edge that holds `e` in `layout`.
  int add(graph::EdgeId e, Layout layout);
  // A new edge that shares the memory of `of`.
  int add_alias(graph::EdgeId e, Layout layout, int of);
  // Edge `id` takes type and shape of its graph edge in `layout`.
  void set_layout(int id, Layout layout);

  // Edge `id` holds `e` in `layout` from now on.
  void make_available(graph::EdgeId e, Layout layout, int id);
  bool has(graph::EdgeId e, Layout layout) const;
  // `e` itself shares the memory of `of` and is available in `layout`.
  void make_alias(graph::EdgeId e, Layout layout, int of);

  // The edge that holds `e` in `layout`, reordered by a step if it must be. ValueError if `e` is
  // neither fed nor computed yet.
  int in_layout(graph::EdgeId e, Layout layout);
  // The same for an operand of a step that works in `layout` and gives, or broadcasts to,
  // `output_rank` axes: constants are permuted, and missing axes added in front.
  int operand(graph::EdgeId e, Layout layout, size_t output_rank);

  // A step from one edge to another; it counts for `node` where that is given.
  void add_reorder(int from, int to, const std::string& label = "", graph::NodeId node = -1);

 private:
  void set_constant(int id, size_t output_rank, Layout layout);

  const graph::Graph& graph_;
  Plan& plan_;
  std::vector<std::array<int, 2>> at_;  // edge of each graph edge by layout, -1
};

}  // namespace tersor::runtime
