#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>

#include "arrays.h"
#include "quantization_conv.h"
#include "quantization_dense.h"
#include "quantization_formats.h"
#include "quantization_observers.h"
#include "quantization_qparams.h"
#include "quantization_training.h"
#include "tersor/quantization/affine.h"

namespace py = pybind11;
using tersor::bindings::Array;
using tersor::bindings::check_apart;
using tersor::bindings::output_array;
using tersor::bindings::without_gil;

namespace {

// outer x channels x inner around `axis`.
tersor::quantization::AffineShape affine_shape(const char* op, const py::array& x, int axis,
                                               const Array<float>& scale,
                                               const Array<std::int32_t>& zero_point) {
  tersor::quantization::AffineShape s;
  const int ndim = static_cast<int>(x.ndim());
  const int a = axis < 0 ? axis + ndim : axis;
  TERSOR_CHECK(0 <= a && a < ndim, op, ": axis must be in [", -ndim, ", ", ndim, "), got ", axis);
  for (int i = 0; i < a; ++i) s.outer *= x.shape(i);
  s.channels = x.shape(a);
  for (int i = a + 1; i < ndim; ++i) s.inner *= x.shape(i);
  TERSOR_CHECK(static_cast<std::size_t>(scale.size()) == s.channels, op, ": scale must have ",
               s.channels, " elements, got ", scale.size());
  TERSOR_CHECK(static_cast<std::size_t>(zero_point.size()) == s.channels, op,
               ": zero_point must have ", s.channels, " elements, got ", zero_point.size());
  return s;
}

// One array in, `name` in messages, one of the same shape out; f(in, out) runs without the GIL.
template <class Out, class In, class F>
Array<Out> elementwise(const char* op, const char* name, const Array<In>& x, const py::object& out,
                       const F& f) {
  Array<Out> y = output_array<Out>(op, out, x);
  check_apart(op, name, x, y);
  const In* in = x.data();
  Out* result = y.mutable_data();
  without_gil([&] { f(in, result); });
  return y;
}

void bind_affine(py::module_& m) {
  namespace quantization = tersor::quantization;
  using quantization::AffineShape;

  m.def(
      "quantize_affine",
      [](const Array<float>& x, float scale, std::int32_t zero_point, int lo, int hi,
         const py::object& out) {
        const AffineShape s{1, 1, static_cast<std::size_t>(x.size())};
        return elementwise<std::int8_t>("quantize_affine", "x", x, out, [&](auto* in, auto* q) {
          quantization::quantize_affine(in, q, s, &scale, &zero_point, lo, hi);
        });
      },
      py::arg("x").noconvert(), py::arg("scale"), py::arg("zero_point"), py::arg("lo"),
      py::arg("hi"), py::arg("out"));

  m.def(
      "quantize_affine_channels",
      [](const Array<float>& x, const Array<float>& scale, const Array<std::int32_t>& zero_point,
         int axis, int lo, int hi, const py::object& out) {
        const AffineShape s = affine_shape("quantize_affine", x, axis, scale, zero_point);
        return elementwise<std::int8_t>("quantize_affine", "x", x, out, [&](auto* in, auto* q) {
          quantization::quantize_affine(in, q, s, scale.data(), zero_point.data(), lo, hi);
        });
      },
      py::arg("x").noconvert(), py::arg("scale").noconvert(), py::arg("zero_point").noconvert(),
      py::arg("axis"), py::arg("lo"), py::arg("hi"), py::arg("out"));

  m.def(
      "dequantize_affine",
      [](const Array<std::int8_t>& q, float scale, std::int32_t zero_point, const py::object& out) {
        const AffineShape s{1, 1, static_cast<std::size_t>(q.size())};
        return elementwise<float>("dequantize_affine", "q", q, out, [&](auto* in, auto* y) {
          quantization::dequantize_affine(in, y, s, &scale, &zero_point);
        });
      },
      py::arg("q").noconvert(), py::arg("scale"), py::arg("zero_point"), py::arg("out"));

  m.def(
      "dequantize_affine_channels",
      [](const Array<std::int8_t>& q, const Array<float>& scale,
         const Array<std::int32_t>& zero_point, int axis, const py::object& out) {
        const AffineShape s = affine_shape("dequantize_affine", q, axis, scale, zero_point);
        return elementwise<float>("dequantize_affine", "q", q, out, [&](auto* in, auto* y) {
          quantization::dequantize_affine(in, y, s, scale.data(), zero_point.data());
        });
      },
      py::arg("q").noconvert(), py::arg("scale").noconvert(), py::arg("zero_point").noconvert(),
      py::arg("axis"), py::arg("out"));
}

}  // namespace

void bind_quantization(py::module_& m) {
  bind_affine(m);
  tersor::bindings::bind_qparams(m);
  tersor::bindings::bind_observers(m);
  tersor::bindings::bind_conv_int8(m);
  tersor::bindings::bind_fake_quantize(m);
  tersor::bindings::bind_formats(m);
  tersor::bindings::bind_dense(m);
}
