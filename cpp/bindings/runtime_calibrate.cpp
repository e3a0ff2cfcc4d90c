#include "runtime_calibrate.h"

#include <pybind11/stl.h>

#include "tensors.h"
#include "tersor/graph/quantize.h"
#include "tersor/runtime/calibrate.h"

namespace py = pybind11;
namespace tg = tersor::graph;
namespace tr = tersor::runtime;

namespace tersor::bindings {
namespace {

using Means = std::map<tg::EdgeId, Tensor>;

void observe(tr::Calibrator& calibrator, const std::vector<py::array>& inputs) {
  std::vector<TensorView> views;
  for (const py::array& x : inputs) views.push_back(tensor_view(x));
  without_gil([&] { calibrator.observe(views); });
}

std::vector<std::pair<float, float>> ranges(const tr::Calibrator& calibrator,
                                            const tg::Placement& placement,
                                            const std::string& method, double percentile) {
  const auto chosen = quantization::range_method_from_name(method);
  std::vector<std::pair<float, float>> out;
  for (const quantization::Range& r : calibrator.ranges(placement, chosen, percentile)) {
    out.emplace_back(r.lo, r.hi);
  }
  return out;
}

}  // namespace

void bind_calibrate(py::module_& m) {
  py::class_<tr::Calibrator>(m, "Calibrator")
      .def(py::init<std::shared_ptr<const tg::Graph>, const std::vector<tg::EdgeId>&,
                    const std::vector<tg::EdgeId>&, int>(),
           py::arg("graph"), py::arg("histograms"), py::arg("means"), py::arg("threads"))
      .def("observe", observe, py::arg("inputs"))
      .def_property_readonly("samples", &tr::Calibrator::samples)
      .def(
          "range",
          [](const tr::Calibrator& c, tg::EdgeId edge) {
            const quantization::Range r = c.histogram(edge).range();
            return py::make_tuple(r.lo, r.hi);
          },
          py::arg("edge"))
      .def(
          "mean",
          [](const tr::Calibrator& c, tg::EdgeId edge) { return array_from_tensor(c.mean(edge)); },
          py::arg("edge"))
      .def("ranges", ranges, py::arg("placement"), py::arg("method"), py::arg("percentile"))
      .def(
          "correct_biases",
          [](const tr::Calibrator& c, const tg::Graph& g, const tg::Placement& placement,
             const std::vector<tg::QParams>& qparams, bool dense_per_channel,
             bool search_weight_range, const std::map<std::string, int>& weight_bits,
             bool conv_per_tensor) {
            const py::gil_scoped_release release;
            auto out = std::make_shared<tg::Graph>(g);
            tg::correct_biases(
                *out, placement, qparams, c.means(),
                {dense_per_channel, search_weight_range, weight_bits, conv_per_tensor});
            return out;
          },
          py::arg("graph"), py::arg("placement"), py::arg("qparams"), py::arg("dense_per_channel"),
          py::arg("search_weight_range"), py::arg("weight_bits") = std::map<std::string, int>{},
          py::arg("conv_per_tensor") = false,
          "A copy of the graph with corrected biases; edge ids stay valid.");
}

}  // namespace tersor::bindings
