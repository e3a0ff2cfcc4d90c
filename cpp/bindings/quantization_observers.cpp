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

// Equality, and pickling by a tuple of plain values.
template <class T, class State, class Make>
void bind_value(py::class_<T>& type, const State& state, const Make& make) {
  type.def(py::pickle(state, make)).def("__eq__", [](const T& a, const py::object& b) {
    return py::isinstance<T>(b) && a == py::cast<const T&>(b);
  });
}

py::tuple histogram_state(const HistogramObserver& o) {
  const Histogram& h = o.histogram();
  return py::make_tuple(h.empty() ? 0.0f : h.range().lo, h.empty() ? 0.0f : h.range().hi,
                        h.exponent(), h.first(), h.counts());
}

HistogramObserver histogram_from(const py::tuple& t) {
  TERSOR_CHECK(t.size() == 5, "HistogramObserver: state must have 5 parts, got ", t.size());
  return HistogramObserver(Histogram::from_parts({t[0].cast<float>(), t[1].cast<float>()},
                                                 t[2].cast<int>(), t[3].cast<int64_t>(),
                                                 t[4].cast<std::vector<uint64_t>>()));
}

py::tuple ranges_state(const MinMaxObserver& o) {
  std::vector<std::pair<float, float>> ranges;
  if (!o.empty()) {
    for (const Range& r : o.ranges()) ranges.emplace_back(r.lo, r.hi);
  }
  return py::make_tuple(o.axis(), ranges);
}

MinMaxObserver ranges_from(const py::tuple& t) {
  TERSOR_CHECK(t.size() == 2, "MinMaxObserver: state must have 2 parts, got ", t.size());
  std::vector<Range> ranges;
  for (const auto& [lo, hi] : t[1].cast<std::vector<std::pair<float, float>>>())
    ranges.push_back({lo, hi});
  return MinMaxObserver(t[0].cast<int>(), std::move(ranges));
}

py::tuple average_state(const MovingAverageObserver& o) {
  const MovingAverageObserver::State& s = o.state();
  return py::make_tuple(s.momentum, s.empty, s.lo, s.hi);
}

MovingAverageObserver average_from(const py::tuple& t) {
  TERSOR_CHECK(t.size() == 4, "MovingAverageObserver: state must have 4 parts, got ", t.size());
  return MovingAverageObserver(MovingAverageObserver::State{
      t[0].cast<double>(), t[1].cast<bool>(), t[2].cast<double>(), t[3].cast<double>()});
}

void bind_histogram(py::module_& m) {
  py::class_<HistogramObserver> observer(m, "HistogramObserver");
  bind_value(observer, &histogram_state, &histogram_from);
  observer.def(py::init<>())
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
  py::class_<MinMaxObserver> min_max(m, "MinMaxObserver");
  bind_value(min_max, &ranges_state, &ranges_from);
  min_max.def(py::init<int>(), py::arg("axis"))
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
  py::class_<MovingAverageObserver> average(m, "MovingAverageObserver");
  bind_value(average, &average_state, &average_from);
  average.def(py::init<double>(), py::arg("momentum"))
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
