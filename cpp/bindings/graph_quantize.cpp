#include "graph_quantize.h"

#include <pybind11/stl.h>

#include "tensors.h"
#include "tersor/graph/equalize.h"
#include "tersor/graph/placement.h"
#include "tersor/graph/quantize.h"
#include "tersor/graph/storage.h"

namespace py = pybind11;
namespace tg = tersor::graph;

namespace tersor::bindings {
namespace {

using Rules = std::vector<std::pair<std::string, std::string>>;
using Pairs = std::vector<std::pair<float, float>>;

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

}  // namespace

void bind_graph_quantize(py::module_& m, GraphClass& graph) {
  bind_placement(m);
  m.def("equalize", &equalize, py::arg("graph"), py::arg("through_relu6") = false,
        "(equalized copy, pairs, reasons why other layers were left).");
  graph.def(
      "narrow_weights",
      [](tg::Graph& g, const std::string& dtype) {
        return tg::narrow_weights(g, dtype_from_name(dtype));
      },
      py::arg("dtype"));
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
         bool dense_per_channel, bool search_weight_range) {
        const py::gil_scoped_release release;
        return std::make_shared<tg::Graph>(
            tg::apply_quantization(g, p, qparams, {dense_per_channel, search_weight_range}));
      },
      py::arg("graph"), py::arg("placement"), py::arg("qparams"),
      py::arg("dense_per_channel") = false, py::arg("search_weight_range") = false);
  m.def(
      "correct_biases",
      [](const tg::Graph& g, const tg::Placement& p, const std::vector<tg::QParams>& qparams,
         const std::map<tg::EdgeId, py::array>& means, bool dense_per_channel,
         bool search_weight_range) {
        std::map<tg::EdgeId, Tensor> tensors;
        for (const auto& [edge, mean] : means) tensors.emplace(edge, tensor_from_array(mean));
        auto out = std::make_shared<tg::Graph>(g);
        tg::correct_biases(*out, p, qparams, tensors, {dense_per_channel, search_weight_range});
        return out;
      },
      py::arg("graph"), py::arg("placement"), py::arg("qparams"), py::arg("means"),
      py::arg("dense_per_channel") = false, py::arg("search_weight_range") = false,
      "A copy of the graph with corrected biases; edge ids stay valid.");
}

}  // namespace tersor::bindings
