// tersor's native IR: edges with types, nodes in topological order.
//
// Shapes are logical, channels-first where an operator has channels (as in ONNX); a plan chooses
// the physical layout. An edge is fed by a graph input, a constant, or exactly one node. A
// quantized network uses the same operators: its edges carry QParams.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/graph/attributes.h"
#include "tersor/graph/operator.h"
#include "tersor/quantization/qparams.h"
#include "tersor/tensor/tensor.h"

namespace tersor::graph {

using EdgeId = int32_t;
using NodeId = int32_t;
inline constexpr EdgeId kNoEdge = -1;  // an absent optional input

using quantization::QParams;

struct Edge {
  std::string name;  // unique in the graph
  std::string
      origin;  // the framework's name of this tensor or parameter; recipes address it by this
  DType dtype = DType::float32;
  Shape shape;  // shape[0] may be kBatch
  std::optional<QParams> qparams;
  Tensor constant;  // empty unless the edge is a weight

  bool is_constant() const { return static_cast<bool>(constant); }
};

struct Node {
  Op op = Op::identity;
  std::string name;  // unique; the framework's node name where it has one
  std::vector<EdgeId> inputs;
  std::vector<EdgeId> outputs;
  Attributes attributes;
};

class TERSOR_API Graph {
 public:
  // Building. Names are made unique by a suffix; an empty one is invented. Shapes and dtypes of
  // outputs are inferred here; GraphError names the node and the argument that does not fit.
  EdgeId add_input(const std::string& name, DType dtype, Shape shape);
  EdgeId add_constant(const std::string& name, Tensor value, const std::string& origin = "");
  EdgeId add_node(Op op, std::vector<EdgeId> inputs, Attributes attributes,
                  const std::string& name = "", const std::string& output_name = "");
  void set_outputs(std::vector<EdgeId> outputs);

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Edge>& edges() const { return edges_; }
  const std::vector<EdgeId>& inputs() const { return inputs_; }
  const std::vector<EdgeId>& outputs() const { return outputs_; }
  const Edge& edge(EdgeId id) const { return edges_.at(static_cast<size_t>(id)); }
  Edge& edge(EdgeId id) { return edges_.at(static_cast<size_t>(id)); }
  const Node& node(NodeId id) const { return nodes_.at(static_cast<size_t>(id)); }
  Node& node(NodeId id) { return nodes_.at(static_cast<size_t>(id)); }
  EdgeId find_edge(const std::string& name) const;  // by name, then origin; kNoEdge when absent

  // Derived relations, O(edges + nodes) each.
  std::vector<NodeId> producers() const;               // per edge, -1 for inputs and constants
  std::vector<std::vector<NodeId>> consumers() const;  // per edge; graph outputs do not count

  // Rewriting (passes). replace_uses redirects every use of `from`, graph outputs included, to
  // `to`.
  void replace_uses(EdgeId from, EdgeId to);
  void remove_nodes(const std::vector<bool>& dead);  // and edges nobody refers to; renumbers ids
  void insert_node(NodeId before, Node node) {
    nodes_.insert(nodes_.begin() + before, std::move(node));
  }
  EdgeId add_edge(Edge edge);  // makes the name unique
  // Names an edge; another edge that has this name gives it up for an invented one.
  void rename(EdgeId id, const std::string& name);
  void sort_nodes();  // topological order, stable; GraphError on a cycle
  void infer();       // shapes and dtypes of all edges anew
  // Structure, arity, attributes, types, shapes, quantization constraints; GraphError names the
  // node.
  void verify() const;

  // The raw parts, for readers of files; call verify() afterwards.
  static Graph from_parts(std::vector<Edge> edges, std::vector<Node> nodes,
                          std::vector<EdgeId> inputs, std::vector<EdgeId> outputs);

  std::string description;  // free text: where the network came from

 private:
  std::string unique_name(const std::string& wanted);

  std::vector<Edge> edges_;
  std::vector<Node> nodes_;
  std::vector<EdgeId> inputs_;
  std::vector<EdgeId> outputs_;
  std::unordered_map<std::string, int> names_;
};

struct EdgeType {
  DType dtype;
  Shape shape;
};

// Fills in defaults (ops.inc), normalises axes, and checks names, types and lengths against the
// inputs.
TERSOR_API void complete_attributes(Op op, Attributes& attributes,
                                    const std::vector<EdgeType>& inputs);

// Output type of one operator from its input types; an absent optional input has an empty
// optional's place filled by a float32 scalar. Attributes are complete.
TERSOR_API EdgeType infer_type(Op op, const Attributes& attributes,
                               const std::vector<EdgeType>& inputs);

// Multiply-accumulates of one sample (conv, conv_transpose, dense, matmul; 0 for the rest).
TERSOR_API int64_t macs_of(const Graph& graph, const Node& node);
// Values of all constants, codes packed to their bits, with codebooks.
TERSOR_API int64_t constant_bytes(const Graph& graph);

}  // namespace tersor::graph
