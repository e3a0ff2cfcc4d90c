#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "arrays.h"
#include "quantization_observers.h"
#include "quantization_qparams.h"
#include "tersor/quantization/affine.h"

namespace py = pybind11;
using tersor::bindings::Array;
using tersor::bindings::output_array;
using tersor::bindings::shape_of;
using tersor::bindings::without_gil;

namespace {

// outer x channels x inner around `axis`; axis = None is per tensor.
tersor::quantization::AffineShape affine_shape(const char* op, const py::array& x,
                                               const std::optional<int>& axis,
                                               const Array<float>& scale,
                                               const Array<std::int32_t>& zero_point) {
  tersor::quantization::AffineShape s;
  if (axis) {
    const int ndim = static_cast<int>(x.ndim());
    const int a = *axis < 0 ? *axis + ndim : *axis;
    TERSOR_CHECK(0 <= a && a < ndim, op, ": axis must be in [", -ndim, ", ", ndim, "), got ",
                 *axis);
    for (int i = 0; i < a; ++i) s.outer *= x.shape(i);
    s.channels = x.shape(a);
    for (int i = a + 1; i < ndim; ++i) s.inner *= x.shape(i);
  } else {
    s.inner = x.size();
  }
  TERSOR_CHECK(static_cast<std::size_t>(scale.size()) == s.channels, op, ": scale must have ",
               s.channels, " elements, got ", scale.size());
  TERSOR_CHECK(static_cast<std::size_t>(zero_point.size()) == s.channels, op,
               ": zero_point must have ", s.channels, " elements, got ", zero_point.size());
  return s;
}

}  // namespace

void bind_quantization(py::module_& m) {
  tersor::bindings::bind_qparams(m);
  tersor::bindings::bind_observers(m);
  namespace quantization = tersor::quantization;

  m.def(
      "quantize_affine",
      [](const Array<float>& x, const Array<float>& scale, const Array<std::int32_t>& zero_point,
         std::optional<int> axis, int lo, int hi, const py::object& out) {
        const auto s = affine_shape("quantize_affine", x, axis, scale, zero_point);
        auto q = output_array<std::int8_t>("quantize_affine", out, shape_of(x));
        auto* codes = q.mutable_data();
        without_gil([&] {
          quantization::quantize_affine(x.data(), codes, s, scale.data(), zero_point.data(), lo,
                                        hi);
        });
        return q;
      },
      py::arg("x").noconvert(), py::arg("scale").noconvert(), py::arg("zero_point").noconvert(),
      py::arg("axis"), py::arg("lo"), py::arg("hi"), py::arg("out"));

  m.def(
      "dequantize_affine",
      [](const Array<std::int8_t>& q, const Array<float>& scale,
         const Array<std::int32_t>& zero_point, std::optional<int> axis, const py::object& out) {
        const auto s = affine_shape("dequantize_affine", q, axis, scale, zero_point);
        auto y = output_array<float>("dequantize_affine", out, shape_of(q));
        auto* values = y.mutable_data();
        without_gil([&] {
          quantization::dequantize_affine(q.data(), values, s, scale.data(), zero_point.data());
        });
        return y;
      },
      py::arg("q").noconvert(), py::arg("scale").noconvert(), py::arg("zero_point").noconvert(),
      py::arg("axis"), py::arg("out"));
}
