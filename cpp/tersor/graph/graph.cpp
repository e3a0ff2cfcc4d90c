#include "tersor/graph/graph.h"

#include <algorithm>

#include "tersor/base/error.h"

namespace tersor::graph {
namespace {

std::vector<EdgeType> input_types(const Graph& graph, const std::vector<EdgeId>& inputs) {
  std::vector<EdgeType> types;
  for (EdgeId id : inputs) {
    if (id == kNoEdge) {
      types.push_back({DType::float32, {}});
    } else {
      types.push_back({graph.edge(id).dtype, graph.edge(id).shape});
    }
  }
  return types;
}

void drop_absent_tail(std::vector<EdgeId>& inputs) {
  while (!inputs.empty() && inputs.back() == kNoEdge) inputs.pop_back();
}

void check_arity(const Node& node) {
  const OperatorSpec& spec = spec_of(node.op);
  const auto count = static_cast<int>(node.inputs.size());
  if (count < spec.least_inputs || count > spec.most_inputs) {
    throw GraphError(message("graph: node ", node.name, " (", spec.name, ") must have ",
                             spec.least_inputs, " to ", spec.most_inputs, " inputs, got ", count));
  }
  for (int i = 0; i < spec.least_inputs; ++i) {
    if (node.inputs[static_cast<size_t>(i)] == kNoEdge) {
      throw GraphError(
          message("graph: node ", node.name, " (", spec.name, ") must have input ", i));
    }
  }
}

}  // namespace

std::string Graph::unique_name(const std::string& wanted) {
  const std::string base = wanted.empty() ? "edge" : wanted;
  if (!wanted.empty() && names_.emplace(base, 1).second) return base;
  for (;;) {
    std::string name = base + "_" + std::to_string(names_[base]++);
    if (names_.emplace(name, 1).second) return name;
  }
}

EdgeId Graph::add_edge(Edge edge) {
  edge.name = unique_name(edge.name);
  edges_.push_back(std::move(edge));
  return static_cast<EdgeId>(edges_.size()) - 1;
}

void Graph::rename(EdgeId id, const std::string& name) {
  Edge& named = edge(id);
  if (named.name == name) return;
  for (Edge& other : edges_) {
    if (other.name == name) other.name = unique_name(name);
  }
  names_.emplace(name, 1);
  named.name = name;
}

EdgeId Graph::add_input(const std::string& name, DType dtype, Shape shape) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0 && !(i == 0 && shape[i] == kBatch)) {
      throw GraphError(message("graph: input ", name,
                               " must have static dimensions but for a leading batch, got ",
                               to_string(shape)));
    }
  }
  Edge edge;
  edge.name = name;
  edge.origin = name;
  edge.dtype = dtype;
  edge.shape = std::move(shape);
  const EdgeId id = add_edge(std::move(edge));
  inputs_.push_back(id);
  return id;
}

EdgeId Graph::add_constant(const std::string& name, Tensor value, const std::string& origin) {
  TERSOR_CHECK(value, "graph: constant ", name, " must hold a tensor");
  Edge edge;
  edge.name = name;
  edge.origin = origin.empty() ? name : origin;
  edge.dtype = value.dtype();
  edge.shape = value.shape();
  edge.constant = std::move(value);
  return add_edge(std::move(edge));
}

EdgeId Graph::add_node(Op op, std::vector<EdgeId> inputs, Attributes attributes,
                       const std::string& name, const std::string& output_name) {
  drop_absent_tail(inputs);
  for (EdgeId id : inputs) {
    if (id != kNoEdge && (id < 0 || id >= static_cast<EdgeId>(edges_.size()))) {
      throw GraphError(message("graph: node ", name, " must name edges that exist, got ", id));
    }
  }
  Node node;
  node.op = op;
  node.inputs = std::move(inputs);
  node.attributes = std::move(attributes);
  node.name = name.empty() ? message(name_of(op), "_", nodes_.size()) : name;
  const auto taken = [&](const std::string& n) {
    return std::any_of(nodes_.begin(), nodes_.end(),
                       [&](const Node& other) { return other.name == n; });
  };
  if (taken(node.name)) {
    int suffix = 1;
    while (taken(node.name + "_" + std::to_string(suffix))) ++suffix;
    node.name += message("_", suffix);  // g++ 12 warns falsely about "_" + to_string
  }
  check_arity(node);
  Edge out;
  try {
    const std::vector<EdgeType> types = input_types(*this, node.inputs);
    complete_attributes(op, node.attributes, types);
    EdgeType type = infer_type(op, node.attributes, types);
    out.dtype = type.dtype;
    out.shape = std::move(type.shape);
  } catch (const ValueError& error) {
    throw GraphError(message("graph: node ", node.name, ": ", error.what()));
  }
  out.name = output_name.empty() ? node.name + ":0" : output_name;
  out.origin = out.name;
  const EdgeId id = add_edge(std::move(out));
  node.outputs = {id};
  nodes_.push_back(std::move(node));
  return id;
}

void Graph::set_outputs(std::vector<EdgeId> outputs) {
  for (EdgeId id : outputs) {
    if (id < 0 || id >= static_cast<EdgeId>(edges_.size())) {
      throw GraphError(message("graph: outputs must name edges that exist, got ", id));
    }
  }
  outputs_ = std::move(outputs);
}

EdgeId Graph::find_edge(const std::string& name) const {
  for (size_t i = 0; i < edges_.size(); ++i) {
    if (edges_[i].name == name) return static_cast<EdgeId>(i);
  }
  for (size_t i = 0; i < edges_.size(); ++i) {
    if (edges_[i].origin == name) return static_cast<EdgeId>(i);
  }
  return kNoEdge;
}

std::vector<NodeId> Graph::producers() const {
  std::vector<NodeId> out(edges_.size(), -1);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (EdgeId id : nodes_[i].outputs) out[static_cast<size_t>(id)] = static_cast<NodeId>(i);
  }
  return out;
}

std::vector<std::vector<NodeId>> Graph::consumers() const {
  std::vector<std::vector<NodeId>> out(edges_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (EdgeId id : nodes_[i].inputs) {
      if (id != kNoEdge) out[static_cast<size_t>(id)].push_back(static_cast<NodeId>(i));
    }
  }
  return out;
}

void Graph::replace_uses(EdgeId from, EdgeId to) {
  for (Node& node : nodes_) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  std::replace(outputs_.begin(), outputs_.end(), from, to);
}

void Graph::remove_nodes(const std::vector<bool>& dead) {
  std::vector<Node> kept;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!dead[i]) kept.push_back(std::move(nodes_[i]));
  }
  nodes_ = std::move(kept);
  std::vector<bool> used(edges_.size(), false);
  const auto mark = [&](const std::vector<EdgeId>& ids) {
    for (EdgeId id : ids) {
      if (id != kNoEdge) used[static_cast<size_t>(id)] = true;
    }
  };
  mark(inputs_);
  mark(outputs_);
  for (const Node& node : nodes_) {
    mark(node.inputs);
    mark(node.outputs);
  }
  std::vector<EdgeId> renumbered(edges_.size(), kNoEdge);
  std::vector<Edge> edges;
  names_.clear();
  for (size_t i = 0; i < edges_.size(); ++i) {
    if (!used[i]) continue;
    renumbered[i] = static_cast<EdgeId>(edges.size());
    names_.emplace(edges_[i].name, 1);
    edges.push_back(std::move(edges_[i]));
  }
  edges_ = std::move(edges);
  const auto renumber = [&](std::vector<EdgeId>& ids) {
    for (EdgeId& id : ids) {
      if (id != kNoEdge) id = renumbered[static_cast<size_t>(id)];
    }
  };
  renumber(inputs_);
  renumber(outputs_);
  for (Node& node : nodes_) {
    renumber(node.inputs);
    renumber(node.outputs);
  }
}

void Graph::sort_nodes() {
  std::vector<bool> ready(edges_.size(), false);
  for (size_t i = 0; i < edges_.size(); ++i) ready[i] = edges_[i].is_constant();
  for (EdgeId id : inputs_) ready[static_cast<size_t>(id)] = true;
  std::vector<Node> sorted;
  std::vector<bool> placed(nodes_.size(), false);
  // Repeated sweeps keep the given order wherever it is already topological; sorted input needs one
  // sweep.
  while (sorted.size() < nodes_.size()) {
    const size_t before = sorted.size();
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (placed[i]) continue;
      const bool runnable =
          std::all_of(nodes_[i].inputs.begin(), nodes_[i].inputs.end(),
                      [&](EdgeId id) { return id == kNoEdge || ready[static_cast<size_t>(id)]; });
      if (!runnable) continue;
      for (EdgeId id : nodes_[i].outputs) ready[static_cast<size_t>(id)] = true;
      placed[i] = true;
      sorted.push_back(nodes_[i]);
    }
    if (sorted.size() == before)
      throw GraphError("graph: nodes must not form a cycle or use an edge nobody makes");
  }
  nodes_ = std::move(sorted);
}

void Graph::infer() {
  for (Node& node : nodes_) {
    check_arity(node);
    try {
      const std::vector<EdgeType> types = input_types(*this, node.inputs);
      complete_attributes(node.op, node.attributes, types);
      EdgeType type = infer_type(node.op, node.attributes, types);
      Edge& out = edge(node.outputs.at(0));
      out.shape = std::move(type.shape);
      // The unsigned form of a quantized edge is a property of its parameters, not of the operator.
      const bool unsigned_codes =
          out.qparams && !out.qparams->is_signed && type.dtype == DType::int8;
      out.dtype = unsigned_codes ? DType::uint8 : type.dtype;
    } catch (const ValueError& error) {
      throw GraphError(message("graph: node ", node.name, ": ", error.what()));
    }
  }
}

Graph Graph::from_parts(std::vector<Edge> edges, std::vector<Node> nodes,
                        std::vector<EdgeId> inputs, std::vector<EdgeId> outputs) {
  Graph graph;
  for (const Edge& edge : edges) {
    if (edge.name.empty() || !graph.names_.emplace(edge.name, 1).second) {
      throw GraphError("graph: edge names must be unique and not empty, got '" + edge.name + "'");
    }
  }
  graph.edges_ = std::move(edges);
  graph.nodes_ = std::move(nodes);
  graph.inputs_ = std::move(inputs);
  graph.outputs_ = std::move(outputs);
  return graph;
}

}  // namespace tersor::graph
