// tersor::graph::Graph for Python. Edges are addressed by their integer id; ids change when passes
// remove nodes, names do not.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "graph_channels.h"
#include "graph_memory.h"
#include "graph_quantize.h"
#include "graph_rewrites.h"
#include "tensors.h"
#include "tersor/graph/graph.h"
#include "tersor/graph/name_pattern.h"
#include "tersor/graph/passes.h"

namespace py = pybind11;
namespace tg = tersor::graph;
using tersor::bindings::array_from_tensor;
using tersor::bindings::shape_from_python;
using tersor::bindings::shape_to_python;
using tersor::bindings::tensor_from_array;

namespace {

tg::AttributeValue attribute_from_python(const std::string& name, const py::handle& value) {
  if (py::isinstance<py::str>(value)) return py::cast<std::string>(value);
  if (py::isinstance<py::float_>(value)) return py::cast<double>(value);
  if (py::isinstance<py::sequence>(value) || py::isinstance<py::array>(value)) {
    tg::Ints ints;
    tg::Floats floats;
    bool real = false;
    for (const py::handle& v : py::iter(value)) {
      real = real || py::isinstance<py::float_>(v);
      floats.push_back(v.is_none() ? -1.0 : py::cast<double>(v));
      if (!real)
        ints.push_back(v.is_none()
                           ? tersor::kBatch
                           : py::cast<int64_t>(py::int_(py::reinterpret_borrow<py::object>(v))));
    }
    if (real) return floats;
    return ints;
  }
  if (py::hasattr(value, "__index__"))
    return py::cast<int64_t>(py::int_(py::reinterpret_borrow<py::object>(value)));
  if (py::hasattr(value, "__float__"))
    return py::cast<double>(py::float_(py::reinterpret_borrow<py::object>(value)));
  throw tersor::TypeError(tersor::message(
      "graph: attribute ", name, " must be an int, float, string or a list of numbers, got ",
      Py_TYPE(value.ptr())->tp_name));
}

tg::Attributes attributes_from_python(const py::dict& dict) {
  tg::Attributes out;
  for (const auto& [key, value] : dict) {
    const auto name = py::cast<std::string>(key);
    out.set(name, attribute_from_python(name, value));
  }
  return out;
}

py::dict attributes_to_python(const tg::Attributes& attributes) {
  py::dict out;
  for (const auto& [name, value] : attributes.values()) {
    out[py::str(name)] = std::visit([](const auto& v) -> py::object { return py::cast(v); }, value);
  }
  return out;
}

tg::EdgeId edge_id(const tg::Graph& graph, const py::handle& which) {
  if (which.is_none()) return tg::kNoEdge;
  if (py::isinstance<py::str>(which)) {
    const auto name = py::cast<std::string>(which);
    const tg::EdgeId id = graph.find_edge(name);
    if (id == tg::kNoEdge)
      throw tersor::GraphError("graph: edge must be one that exists, got '" + name + "'");
    return id;
  }
  const auto id = py::cast<tg::EdgeId>(which);
  if (id < 0 || static_cast<size_t>(id) >= graph.edges().size()) {
    throw tersor::GraphError(
        tersor::message("graph: edge must be in [0, ", graph.edges().size(), "), got ", id));
  }
  return id;
}

std::vector<tg::EdgeId> edge_ids(const tg::Graph& graph, const py::sequence& which) {
  std::vector<tg::EdgeId> out;
  for (const py::handle& w : which) out.push_back(edge_id(graph, w));
  return out;
}

// Read-only snapshots: attribute access from Python must not dangle when the graph is rewritten.
void bind_edge(py::module_& m) {
  py::class_<tg::Edge>(m, "Edge")
      .def_readonly("name", &tg::Edge::name)
      .def_readonly("origin", &tg::Edge::origin)
      .def_property_readonly(
          "dtype", [](const tg::Edge& e) { return std::string(tersor::name_of(e.dtype)); })
      .def_property_readonly(
          "shape", [](const tg::Edge& e) { return shape_to_python(e.shape); },
          "Logical shape; a leading batch is None.")
      .def_property_readonly("qparams", [](const tg::Edge& e) { return e.qparams; })
      .def_property_readonly("is_constant", &tg::Edge::is_constant)
      .def_property_readonly(
          "constant",
          [](const tg::Edge& e) -> py::object {
            if (!e.is_constant()) return py::none();
            return array_from_tensor(e.constant, false);
          },
          "The weight as a read-only array, or None.")
      .def("__repr__", [](const tg::Edge& e) {
        return tersor::message("Edge(", e.name, ", ", tersor::name_of(e.dtype),
                               tersor::to_string(e.shape), ")");
      });
}

void bind_node(py::module_& m) {
  py::class_<tg::Node>(m, "Node")
      .def_property_readonly("op", [](const tg::Node& n) { return std::string(tg::name_of(n.op)); })
      .def_readonly("name", &tg::Node::name)
      .def_readonly("inputs", &tg::Node::inputs, "Edge ids; -1 for an absent optional input.")
      .def_readonly("outputs", &tg::Node::outputs)
      .def_property_readonly("attributes",
                             [](const tg::Node& n) { return attributes_to_python(n.attributes); })
      .def("__repr__", [](const tg::Node& n) {
        return tersor::message("Node(", tg::name_of(n.op), " ", n.name, ")");
      });
}

}  // namespace

void bind_graph(py::module_& m) {
  bind_edge(m);
  bind_node(m);
  py::class_<tg::Graph, std::shared_ptr<tg::Graph>> graph(m, "Graph", py::dynamic_attr());
  graph.def(py::init<>())
      .def(py::init<const tg::Graph&>(), py::arg("other"))  // weights are shared
      .def(
          "add_input",
          [](tg::Graph& g, const std::string& name, const std::string& dtype,
             const py::sequence& shape) {
            return g.add_input(name, tersor::dtype_from_name(dtype), shape_from_python(shape));
          },
          py::arg("name"), py::arg("dtype"), py::arg("shape"))
      .def(
          "add_constant",
          [](tg::Graph& g, const std::string& name, const py::array& value,
             const std::string& origin, std::optional<tg::QParams> qparams) {
            const tg::EdgeId id = g.add_constant(name, tensor_from_array(value), origin);
            g.edge(id).qparams = std::move(qparams);
            return id;
          },
          py::arg("name"), py::arg("value"), py::arg("origin") = "",
          py::arg("qparams") = py::none())
      .def(
          "add_node",
          [](tg::Graph& g, const std::string& op, const py::sequence& inputs,
             const py::dict& attributes, const std::string& name, const std::string& output_name,
             std::optional<tg::QParams> qparams) {
            const tg::EdgeId id = g.add_node(tg::spec_of(op).op, edge_ids(g, inputs),
                                             attributes_from_python(attributes), name, output_name);
            if (qparams) {
              if (!qparams->is_signed && g.edge(id).dtype == tersor::DType::int8) {
                g.edge(id).dtype = tersor::DType::uint8;
              }
              g.edge(id).qparams = std::move(qparams);
            }
            return id;
          },
          py::arg("op"), py::arg("inputs"), py::arg("attributes") = py::dict(),
          py::arg("name") = "", py::arg("output_name") = "", py::arg("qparams") = py::none(),
          "Add an operator of the operator table; returns the id of its output edge.")
      .def(
          "set_outputs",
          [](tg::Graph& g, const py::sequence& ids) { g.set_outputs(edge_ids(g, ids)); },
          py::arg("edges"))
      .def(
          "set_qparams",
          [](tg::Graph& g, const py::object& edge, std::optional<tg::QParams> qparams) {
            g.edge(edge_id(g, edge)).qparams = std::move(qparams);
          },
          py::arg("edge"), py::arg("qparams"))
      .def(
          "rename",
          [](tg::Graph& g, const py::object& edge, const std::string& name) {
            g.rename(edge_id(g, edge), name);
          },
          py::arg("edge"), py::arg("name"),
          "Name an edge; another edge of that name gets an invented one.")
      .def(
          "set_origin",
          [](tg::Graph& g, const py::object& edge, const std::string& origin) {
            g.edge(edge_id(g, edge)).origin = origin;
          },
          py::arg("edge"), py::arg("origin"))
      .def(
          "set_constant",
          [](tg::Graph& g, const py::object& edge, const py::array& value) {
            tg::Edge& e = g.edge(edge_id(g, edge));
            tersor::Tensor t = tensor_from_array(value);
            if (!e.is_constant() || t.dtype() != e.dtype || t.shape() != e.shape) {
              throw tersor::GraphError(
                  tersor::message("graph: constant ", e.name, " must be ", tersor::name_of(e.dtype),
                                  " ", tersor::to_string(e.shape), ", got ",
                                  tersor::name_of(t.dtype()), " ", tersor::to_string(t.shape())));
            }
            e.constant = std::move(t);
          },
          py::arg("edge"), py::arg("value"))
      .def(
          "find_edge",
          [](const tg::Graph& g, const std::string& name) { return g.find_edge(name); },
          py::arg("name"), "Id of the edge with that name or origin, -1 when there is none.")
      .def(
          "edge",
          [](const tg::Graph& g, const py::object& which) { return g.edge(edge_id(g, which)); },
          py::arg("which"), "The edge with that id, name or origin (a snapshot).")
      .def_property_readonly("edges", [](const tg::Graph& g) { return g.edges(); })
      .def_property_readonly("nodes", [](const tg::Graph& g) { return g.nodes(); })
      .def_property_readonly("input_ids", [](const tg::Graph& g) { return g.inputs(); })
      .def_property_readonly("output_ids", [](const tg::Graph& g) { return g.outputs(); })
      .def_readwrite("description", &tg::Graph::description)
      .def("infer", &tg::Graph::infer)
      .def("verify", &tg::Graph::verify)
      .def("clone", [](const tg::Graph& g) { return std::make_shared<tg::Graph>(g); })
      .def(
          "macs_of",
          [](const tg::Graph& g, tg::NodeId node) {
            TERSOR_CHECK(0 <= node && static_cast<size_t>(node) < g.nodes().size(),
                         "macs_of: node must be in [0, ", g.nodes().size(), "), got ", node);
            return tg::macs_of(g, g.node(node));
          },
          py::arg("node"))
      .def_property_readonly("constant_bytes",
                             [](const tg::Graph& g) { return tg::constant_bytes(g); });
  m.def(
      "matches_pattern",
      [](const std::string& pattern, const std::string& text) {
        return tg::matches_pattern(pattern.c_str(), text.c_str());
      },
      py::arg("pattern"), py::arg("text"), "Whether a pattern with * and ? matches all of text.");
  tersor::bindings::bind_rewrites(m, graph);
  tersor::bindings::bind_graph_quantize(m, graph);
  tersor::bindings::bind_memory_planner(m);
  tersor::bindings::bind_channels(m);

  py::list operators;
  for (const tg::OperatorSpec& spec : tg::operator_table()) {
    py::dict row;
    row["name"] = spec.name;
    row["version"] = spec.version;
    row["least_inputs"] = spec.least_inputs;
    row["most_inputs"] = spec.most_inputs;
    constexpr const char* kLayouts[] = {"spatial", "elementwise", "axis", "row_major"};
    constexpr const char* kConstraints[] = {"affine", "free", "same", "fixed", "none"};
    row["layout"] = kLayouts[static_cast<int>(spec.layout)];
    row["constraint"] = kConstraints[static_cast<int>(spec.constraint)];
    py::list attributes;
    for (const tg::AttributeSpec& a : spec.attributes) attributes.append(a.name);
    row["attributes"] = attributes;
    operators.append(row);
  }
  m.attr("OPERATORS") = operators;
}
