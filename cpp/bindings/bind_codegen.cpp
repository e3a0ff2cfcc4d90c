#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <utility>

#include "tersor/base/error.h"
#include "tersor/graph/graph.h"
#include "tersor/graph/unary_function.h"
#include "tersor/quantization/requantize.h"

namespace py = pybind11;
namespace tg = tersor::graph;
namespace tq = tersor::quantization;

namespace {

using Pair = std::pair<int32_t, int32_t>;

Pair pair_of(const tq::FixedMultiplier& m) { return {m.mantissa, m.shift}; }

}  // namespace

// The integers of `exact` arithmetic, for the text that the C generator writes.
void bind_codegen(py::module_& m) {
  m.def(
      "fixed_multiplier", [](double value) { return pair_of(tq::fixed_multiplier(value)); },
      py::arg("value"), "(mantissa, shift): value = mantissa * 2^(shift - 31).");
  m.def(
      "activation_codes",
      [](const std::string& activation, const tq::QParams& output) {
        const tq::CodeRange range = tq::activation_codes(activation, output);
        return Pair{range.low, range.high};
      },
      py::arg("activation"), py::arg("output"), "Lowest and highest code that it leaves.");
  m.def(
      "add_multipliers",
      [](const tq::QParams& a, const tq::QParams& b, const tq::QParams& output) {
        const tq::CodeAdder adder = tq::code_adder(a, b, output, false);
        return std::vector<Pair>{pair_of(adder.fixed_a), pair_of(adder.fixed_b),
                                 pair_of(adder.output.fixed)};
      },
      py::arg("a"), py::arg("b"), py::arg("output"), "(mantissa, shift) of a, b and their sum.");
  m.def(
      "mean_multiplier",
      [](const tq::QParams& input, const tq::QParams& output, int64_t count) {
        return pair_of(tq::mean_requantizer(input, output, count).fixed);
      },
      py::arg("input"), py::arg("output"), py::arg("count"));
  m.def(
      "softmax_table",
      [](float scale) {
        const auto table = tq::softmax_table(scale);
        return std::vector<uint32_t>(table.begin(), table.end());
      },
      py::arg("scale"));
  m.def(
      "unary_table",
      [](const tg::Graph& graph, tg::NodeId node) {
        TERSOR_CHECK(0 <= node && static_cast<size_t>(node) < graph.nodes().size(),
                     "unary_table: node must be in [0, ", graph.nodes().size(), "), got ", node);
        const tg::Node& n = graph.node(node);
        const auto& x = graph.edge(n.inputs.at(0)).qparams;
        const auto& y = graph.edge(n.outputs.at(0)).qparams;
        TERSOR_CHECK(tg::is_unary_function(n.op) && x && y,
                     "unary_table: node must be a function of one int8 edge, got ", n.name);
        const auto table = tg::unary_table(n.op, n.attributes, *x, *y);
        return std::vector<int>(table.begin(), table.end());
      },
      py::arg("graph"), py::arg("node"), "Code of the output for each of the 256 input codes.");
}
