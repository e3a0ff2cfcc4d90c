// Who makes and who uses each edge: the questions that every pass asks. A snapshot: rebuild after a
// change.
#pragma once

#include <vector>

#include "tersor/graph/graph.h"

namespace tersor::graph {

class Links {
 public:
  explicit Links(const Graph& graph);

  NodeId maker(EdgeId id) const { return id == kNoEdge ? -1 : makers_[static_cast<size_t>(id)]; }
  const std::vector<NodeId>& users(EdgeId id) const { return users_[static_cast<size_t>(id)]; }
  // The one node that uses the edge; -1 when there are several, none, or the graph returns the
  // edge.
  NodeId only_user(EdgeId id) const;
  // Maker of the edge when it is an `op` whose result nobody else uses; -1 otherwise.
  NodeId private_maker(EdgeId id, Op op) const;
  bool is_output(EdgeId id) const { return output_[static_cast<size_t>(id)]; }

 private:
  const Graph& graph_;
  std::vector<NodeId> makers_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> output_;
};

// Gives `kept` the place of `gone` in the graph: every use, and the name when the graph returns it.
void take_over(Graph& graph, EdgeId gone, EdgeId kept);

// The value of a constant with one element (any rank); false when the edge is something else.
bool scalar_value(const Graph& graph, EdgeId id, double* value);

// A copy of a float constant as float32 values.
std::vector<float> float_values(const Tensor& tensor);

}  // namespace tersor::graph
