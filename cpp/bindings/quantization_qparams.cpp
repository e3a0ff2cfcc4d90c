// QParams as a Python class; called by bind_quantization.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "quantization_qparams.h"
#include "tersor/quantization/qparams.h"

namespace tersor::bindings {

using quantization::QParams;

void bind_qparams(py::module_& m) {
  py::class_<QParams>(
      m, "QParams",
      "Parameters of affine quantization: ``value = scale[c] * (code - zero_point[c])``.\n\n"
      "Attributes are ``scale`` (float32), ``zero_point`` (int32), ``bits`` in [2, 8], "
      "``signed``,\n"
      "``narrow`` (symmetric codes of weights), ``axis`` (None: one scale for the tensor),\n"
      "``group_size`` (0: none), ``code_min`` and ``code_max``.")
      .def(py::init([](std::vector<float> scale, std::vector<int32_t> zero_point, int bits,
                       bool is_signed, bool narrow, std::optional<int> axis, int group_size) {
             return QParams{std::move(scale), std::move(zero_point), bits,      is_signed,
                            narrow,           axis.value_or(-1),     group_size};
           }),
           py::kw_only(), py::arg("scale"), py::arg("zero_point"), py::arg("bits") = 8,
           py::arg("signed") = true, py::arg("narrow") = false, py::arg("axis") = py::none(),
           py::arg("group_size") = 0)
      .def_property_readonly("scale",
                             [](const QParams& q) {
                               return py::array_t<float>(static_cast<py::ssize_t>(q.scale.size()),
                                                         q.scale.data());
                             })
      .def_property_readonly("zero_point",
                             [](const QParams& q) {
                               return py::array_t<int32_t>(
                                   static_cast<py::ssize_t>(q.zero_point.size()),
                                   q.zero_point.data());
                             })
      .def_readonly("bits", &QParams::bits)
      .def_readonly("signed", &QParams::is_signed)
      .def_readonly("narrow", &QParams::narrow)
      .def_property_readonly("axis",
                             [](const QParams& q) {
                               return q.axis < 0 ? py::object(py::none())
                                                 : py::object(py::int_(q.axis));
                             })
      .def_readonly("group_size", &QParams::group_size)
      .def_property_readonly("code_min", &QParams::code_min)
      .def_property_readonly("code_max", &QParams::code_max)
      .def("__eq__",
           [](const QParams& a, const py::object& b) {
             return py::isinstance<QParams>(b) && a == py::cast<const QParams&>(b);
           })
      .def("__repr__", [](const QParams& q) {
        return message("QParams(", q.scale.size(), " scale", q.scale.size() == 1 ? "" : "s",
                       ", bits=", q.bits, ", signed=", q.is_signed ? "True" : "False",
                       ", axis=", q.axis, ")");
      });
}

}  // namespace tersor::bindings
