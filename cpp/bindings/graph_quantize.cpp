#include "graph_quantize.h"

#include <pybind11/stl.h>

#include "tensors.h"
#include "tersor/graph/equalize.h"
#include "tersor/graph/name_pattern.h"
#include "tersor/graph/placement.h"
#include "tersor/graph/quantize.h"
#include "tersor/graph/storage.h"
#include "tersor/graph/weight_codes.h"

namespace py = pybind11;
namespace tg = tersor::graph;

namespace tersor::bindings {
namespace {

using Rules = std::vector<std::pair<std::string, std::string>>;
using Pairs = std::vector<std::pair<float, float>>;
using WeightBits = std::map<std::string, int>;

std::vector<tg::LayerRule> rules_from(const Rules& rules) {
  std::vector<tg::LayerRule> out;
  for (const auto& [pattern, values] : rules) out.push_back({pattern, values});
  return out;
}

void bind_placement(py::module_& m) {
  py::class_<tg::EdgeGroup>(m, "EdgeGroup")
      .def_readonly("edges", &tg::EdgeGroup::edges)
      .def_readonly("sources", &tg::EdgeGroup::sources)
      .def_property_readonly("fixed", [](const tg::EdgeGroup& g) { return g.fixed; });
  py::class_<tg::Placement>(m, "Placement",
                            "Which nodes are quantized and which edges share parameters.")
      .def_readonly("groups", &tg::Placement::groups)
      .def_readonly("group_of", &tg::Placement::group_of, "By edge id; -1: float only.")
      .def_property_readonly("quantized",
                             [](const tg::Placement& p) {
                               py::list out;
                               for (const tg::NodePlacement& n : p.nodes) out.append(n.quantized);
                               return out;
                             })
      .def_property_readonly(
          "reasons",
          [](const tg::Placement& p) {
            py::list out;
            for (const tg::NodePlacement& n : p.nodes) out.append(n.reason);
            return out;
          },
          "By node: why it stays in float, or an empty string.");
  m.def(
      "place_quantizers",
      [](const tg::Graph& g, const Rules& rules) {
        return tg::place_quantizers(g, rules_from(rules));
      },
      py::arg("graph"), py::arg("rules") = Rules{});
  m.def("calibration_edges", &tg::calibration_edges, py::arg("graph"), py::arg("placement"));
  m.def("layer_inputs", &tg::layer_inputs, py::arg("graph"), py::arg("placement"));
}

py::tuple equalize(const tg::Graph& g, bool through_relu6) {
  auto out = std::make_shared<tg::Graph>(g);
  const tg::Equalization done = tg::equalize(*out, {through_relu6});
  py::list pairs;
  for (const tg::EqualizedPair& p : done.pairs) {
    py::dict row;
    row["first"] = p.first;
    row["second"] = p.second;
    row["least_factor"] = p.least_factor;
    row["most_factor"] = p.most_factor;
    row["replaced_relu6"] = p.replaced_relu6;
    pairs.append(row);
  }
  return py::make_tuple(out, pairs, done.left);
}

using Formats = std::map<std::string, tg::WeightFormat>;

void bind_weight_codes(py::module_& m, GraphClass& graph) {
  py::class_<tg::WeightFormat>(m, "WeightFormat", "What the weight of a float layer becomes.")
      .def(py::init([](int bits, int group_size, bool float_zero_point, bool least_squares,
                       bool dynamic) {
             return tg::WeightFormat{bits, group_size, float_zero_point, least_squares, dynamic};
           }),
           py::arg("bits"), py::arg("group_size") = 0, py::arg("float_zero_point") = false,
           py::arg("least_squares") = false, py::arg("dynamic") = false);
  m.def(
      "layer_names",
      [](const tg::Graph& g) {
        std::vector<std::pair<std::string, std::vector<std::string>>> out;
        for (const tg::Node& n : g.nodes()) out.emplace_back(n.name, tg::names_of(g, n));
        return out;
      },
      py::arg("graph"), "By node: its name, and all names that patterns match.");
  m.def("match_layers", &tg::match_layers, py::arg("graph"), py::arg("patterns"),
        "By node: index of the last pattern that matches, -1 where none does.");
  graph.def(
      "quantize_weights_only",
      [](tg::Graph& g, const Formats& formats) {
        const py::gil_scoped_release release;
        return tg::quantize_weights_only(g, formats);
      },
      py::arg("formats"), "Returns why nodes were left, by name.");
  graph.def(
      "weight_code_qparams",
      [](const tg::Graph& g, const std::string& node, const tg::WeightFormat& format) {
        for (const tg::Node& n : g.nodes()) {
          if (n.name == node && tg::takes_weight_codes(n.op) && g.edge(n.inputs[1]).is_constant()) {
            return tg::weight_code_qparams(g, n, format);
          }
        }
        throw ValueError("weight_code_qparams: node must be a layer with a weight, got " + node);
      },
      py::arg("node"), py::arg("format"), "Parameters that the format gives to a layer's weight.");
  graph.def(
      "set_weight_codes",
      [](tg::Graph& g, const std::string& node, const py::array& codes, const tg::QParams& q) {
        tg::set_weight_codes(g, node, tensor_from_array(codes), q);
      },
      py::arg("node"), py::arg("codes"), py::arg("qparams"),
      "Put codes that were chosen elsewhere in the place of a layer's weight.");
  graph.def("decode_weights", [](tg::Graph& g) { return tg::decode_weights(g); });
  graph.def(
      "decode_codebooks", [](tg::Graph& g) { return tg::decode_codebooks(g); },
      "Put the values of codebooks in their place, int8 or float32; returns how many.");
}

}  // namespace

void bind_graph_quantize(py::module_& m, GraphClass& graph) {
  bind_placement(m);
  bind_weight_codes(m, graph);
  m.def("equalize", &equalize, py::arg("graph"), py::arg("through_relu6") = false,
        "(equalized copy, pairs, reasons why other layers were left).");
  graph.def(
      "narrow_weights",
      [](tg::Graph& g, const std::string& dtype,
         const std::optional<std::vector<std::string>>& nodes) {
        return nodes ? tg::narrow_weights(g, dtype_from_name(dtype), *nodes)
                     : tg::narrow_weights(g, dtype_from_name(dtype));
      },
      py::arg("dtype"), py::arg("nodes") = py::none());
  graph.def("widen_constants", [](tg::Graph& g) { return tg::widen_constants(g); });
  m.def(
      "group_qparams",
      [](const tg::Graph& g, const tg::Placement& p, const Pairs& ranges) {
        std::vector<tg::Range> converted;
        for (const auto& [lo, hi] : ranges) converted.push_back({lo, hi});
        return tg::group_qparams(g, p, converted);
      },
      py::arg("graph"), py::arg("placement"), py::arg("ranges"));
  m.def(
      "apply_quantization",
      [](const tg::Graph& g, const tg::Placement& p, const std::vector<tg::QParams>& qparams,
         bool dense_per_channel, bool search_weight_range, const WeightBits& weight_bits,
         bool conv_per_tensor) {
        const py::gil_scoped_release release;
        return std::make_shared<tg::Graph>(tg::apply_quantization(
            g, p, qparams, {dense_per_channel, search_weight_range, weight_bits, conv_per_tensor}));
      },
      py::arg("graph"), py::arg("placement"), py::arg("qparams"),
      py::arg("dense_per_channel") = false, py::arg("search_weight_range") = false,
      py::arg("weight_bits") = WeightBits{}, py::arg("conv_per_tensor") = false);
  m.def(
      "correct_biases",
      [](const tg::Graph& g, const tg::Placement& p, const std::vector<tg::QParams>& qparams,
         const std::map<tg::EdgeId, py::array>& means, bool dense_per_channel,
         bool search_weight_range, const WeightBits& weight_bits, bool conv_per_tensor) {
        std::map<tg::EdgeId, Tensor> tensors;
        for (const auto& [edge, mean] : means) tensors.emplace(edge, tensor_from_array(mean));
        auto out = std::make_shared<tg::Graph>(g);
        tg::correct_biases(*out, p, qparams, tensors,
                           {dense_per_channel, search_weight_range, weight_bits, conv_per_tensor});
        return out;
      },
      py::arg("graph"), py::arg("placement"), py::arg("qparams"), py::arg("means"),
      py::arg("dense_per_channel") = false, py::arg("search_weight_range") = false,
      py::arg("weight_bits") = WeightBits{}, py::arg("conv_per_tensor") = false,
      "A copy of the graph with corrected biases; edge ids stay valid.");
}

}  // namespace tersor::bindings
