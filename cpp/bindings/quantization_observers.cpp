#include "quantization_observers.h"

#include <pybind11/stl.h>

#include "tersor/quantization/observer.h"
#include "tersor/quantization/qparams.h"
#include "tersor/quantization/range_search.h"

namespace tersor::bindings {
namespace {

using quantization::Histogram;
using quantization::HistogramObserver;
using quantization::MinMaxObserver;
using quantization::MovingAverageObserver;
using quantization::QuantScheme;
using quantization::Range;

tersor::Shape tensor_shape(const Array<float>& x) { return {x.shape(), x.shape() + x.ndim()}; }

size_t count(const Array<float>& x) { return static_cast<size_t>(x.size()); }

QuantScheme scheme(int bits, bool is_signed, bool symmetric) {
  return {bits, is_signed, symmetric};
}

py::tuple pair(const Range& r) { return py::make_tuple(r.lo, r.hi); }

void bind_histogram(py::module_& m) {
  py::class_<HistogramObserver>(m, "HistogramObserver")
      .def(py::init<>())
      .def(
          "observe",
          [](HistogramObserver& o, const Array<float>& x) {
            without_gil([&] { o.observe(x.data(), count(x)); });
          },
          py::arg("x").noconvert())
      .def("merge", &HistogramObserver::merge, py::arg("other"))
      .def(
          "qparams",
          [](const HistogramObserver& o, int bits, bool is_signed, bool symmetric,
             const std::string& method, double percentile) {
            return o.qparams(scheme(bits, is_signed, symmetric),
                             quantization::range_method_from_name(method), percentile);
          },
          py::arg("bits"), py::arg("signed"), py::arg("symmetric"), py::arg("method"),
          py::arg("percentile"))
      .def_property_readonly("total",
                             [](const HistogramObserver& o) { return o.histogram().total(); })
      .def_property_readonly("range",
                             [](const HistogramObserver& o) { return pair(o.histogram().range()); })
      .def_property_readonly("width",
                             [](const HistogramObserver& o) { return o.histogram().width(); })
      .def_property_readonly("first",
                             [](const HistogramObserver& o) { return o.histogram().first(); })
      .def_property_readonly("counts", [](const HistogramObserver& o) {
        const auto& counts = o.histogram().counts();
        return py::array_t<uint64_t>(static_cast<py::ssize_t>(counts.size()), counts.data());
      });
}

void bind_ranges(py::module_& m) {
  py::class_<MinMaxObserver>(m, "MinMaxObserver")
      .def(py::init<int>(), py::arg("axis"))
      .def(
          "observe",
          [](MinMaxObserver& o, const Array<float>& x) {
            without_gil([&] { o.observe(x.data(), tensor_shape(x)); });
          },
          py::arg("x").noconvert())
      .def("merge", &MinMaxObserver::merge, py::arg("other"))
      .def(
          "qparams",
          [](const MinMaxObserver& o, int bits, bool is_signed, bool symmetric) {
            return o.qparams(scheme(bits, is_signed, symmetric));
          },
          py::arg("bits"), py::arg("signed"), py::arg("symmetric"))
      .def_property_readonly("ranges", [](const MinMaxObserver& o) {
        py::list out;
        for (const Range& r : o.ranges()) out.append(pair(r));
        return out;
      });
  py::class_<MovingAverageObserver>(m, "MovingAverageObserver")
      .def(py::init<double>(), py::arg("momentum"))
      .def(
          "observe",
          [](MovingAverageObserver& o, const Array<float>& x) {
            without_gil([&] { o.observe(x.data(), count(x)); });
          },
          py::arg("x").noconvert())
      .def(
          "qparams",
          [](const MovingAverageObserver& o, int bits, bool is_signed, bool symmetric) {
            return o.qparams(scheme(bits, is_signed, symmetric));
          },
          py::arg("bits"), py::arg("signed"), py::arg("symmetric"))
      .def_property_readonly("range",
                             [](const MovingAverageObserver& o) { return pair(o.range()); });
}

}  // namespace

void bind_observers(py::module_& m) {
  bind_histogram(m);
  bind_ranges(m);
  m.def(
      "choose_qparams",
      [](const Array<float>& x, int bits, bool is_signed, bool symmetric, int axis, int axis_count,
         int group_size, const std::string& method, double percentile, bool float_zero_point,
         const std::string& scale_dtype) {
        const auto chosen = quantization::range_method_from_name(method);
        QuantScheme s = scheme(bits, is_signed, symmetric);
        s.float_zero_point = float_zero_point;
        s.scale_dtype = dtype_from_name(scale_dtype);
        return without_gil([&] {
          return quantization::choose_qparams(x.data(), tensor_shape(x), s,
                                              {axis, axis_count, group_size}, chosen, percentile);
        });
      },
      py::arg("x").noconvert(), py::arg("bits"), py::arg("signed"), py::arg("symmetric"),
      py::arg("axis"), py::arg("axis_count"), py::arg("group_size"), py::arg("method"),
      py::arg("percentile"), py::arg("float_zero_point"), py::arg("scale_dtype"));
  m.def(
      "qparams_from_range",
      [](float lo, float hi, int bits, bool is_signed, bool symmetric) {
        return quantization::choose_qparams({Range{lo, hi}}, scheme(bits, is_signed, symmetric));
      },
      py::arg("lo"), py::arg("hi"), py::arg("bits"), py::arg("signed"), py::arg("symmetric"));
  m.def(
      "min_max",
      [](const Array<float>& x) {
        return pair(without_gil([&] { return quantization::min_max(x.data(), count(x)); }));
      },
      py::arg("x").noconvert());
}

}  // namespace tersor::bindings
