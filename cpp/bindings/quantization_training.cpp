#include "quantization_training.h"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <optional>

#include "arrays.h"
#include "tersor/quantization/fake_quantize.h"
#include "tersor/quantization/lsq.h"
#include "tersor/quantization/qparams.h"

namespace tersor::bindings {
namespace {

using quantization::AffineShape;
using quantization::FakeQuantizer;
using quantization::QParams;

template <class T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// (outer, channels, inner, group) of a tensor that Python describes by numbers.
AffineShape layout_of(const std::array<std::size_t, 4>& l) { return {l[0], l[1], l[2], l[3]}; }

// `kind`: 0 no zero points, 1 int32, 2 float32, 3 float32 that are rounded to codes.
FakeQuantizer quantizer_at(std::uintptr_t scale, std::uintptr_t zero_point, int kind, int lo,
                           int hi) {
  FakeQuantizer q;
  q.scale = at<const float>(scale);
  if (kind == 1) q.zero_point = at<const std::int32_t>(zero_point);
  if (kind >= 2) q.zero_point_float = at<const float>(zero_point);
  q.rounded = kind == 3;
  q.lo = lo;
  q.hi = hi;
  return q;
}

void bind_arrays(py::module_& m) {
  m.def(
      "fake_quantize",
      [](const Array<float>& x, const QParams& q, const py::object& out, const py::object& mask) {
        Array<float> y = output_array<float>("fake_quantize", out, x);
        const auto bytes = quantization::mask_bytes(static_cast<std::size_t>(x.size()));
        py::array bits = output_array("fake_quantize", mask, py::dtype::of<std::uint8_t>(),
                                      {static_cast<py::ssize_t>(bytes)});
        check_apart("fake_quantize", "x", x, y, Sharing::in_place);
        check_apart("fake_quantize", "x", x, bits, Sharing::none, "mask");
        check_apart("fake_quantize", "out", y, bits, Sharing::none, "mask");
        float* to = y.mutable_data();
        auto* packed = static_cast<std::uint8_t*>(bits.mutable_data());
        const tersor::Shape shape(x.shape(), x.shape() + x.ndim());
        without_gil([&] { quantization::fake_quantize(x.data(), to, packed, shape, q); });
        return py::make_tuple(std::move(y), std::move(bits));
      },
      py::arg("x").noconvert(), py::arg("q"), py::arg("out"), py::arg("mask"));
  m.def(
      "fake_quantize_backward",
      [](const Array<float>& dy, const Array<std::uint8_t>& mask, const py::object& out) {
        const auto n = static_cast<std::size_t>(dy.size());
        const std::size_t bytes = quantization::mask_bytes(n);
        TERSOR_CHECK(mask.ndim() == 1 && static_cast<std::size_t>(mask.size()) == bytes,
                     "fake_quantize_backward: mask must have shape (", bytes, ",), got ",
                     shape_text(shape_of(mask)));
        Array<float> dx = output_array<float>("fake_quantize_backward", out, dy);
        check_apart("fake_quantize_backward", "dy", dy, dx, Sharing::in_place);
        check_apart("fake_quantize_backward", "mask", mask, dx);
        float* to = dx.mutable_data();
        without_gil([&] { quantization::fake_quantize_backward(dy.data(), mask.data(), to, n); });
        return dx;
      },
      py::arg("dy").noconvert(), py::arg("mask").noconvert(), py::arg("out"));
}

// The same for memory that Python describes by numbers, as torch tensors are; nothing is checked
// but values.
void bind_addresses(py::module_& m) {
  m.def(
      "fake_quantize_at",
      [](std::uintptr_t x, std::uintptr_t y, std::uintptr_t mask,
         const std::array<std::size_t, 4>& layout, std::uintptr_t scale, std::uintptr_t zero_point,
         int kind, int lo, int hi) {
        const FakeQuantizer q = quantizer_at(scale, zero_point, kind, lo, hi);
        without_gil([&] {
          quantization::fake_quantize(at<const float>(x), at<float>(y), at<std::uint8_t>(mask),
                                      layout_of(layout), q);
        });
      },
      py::arg("x"), py::arg("y"), py::arg("mask"), py::arg("layout"), py::arg("scale"),
      py::arg("zero_point"), py::arg("kind"), py::arg("lo"), py::arg("hi"));
  m.def(
      "fake_quantize_backward_at",
      [](std::uintptr_t dy, std::uintptr_t mask, std::uintptr_t dx, std::size_t n) {
        without_gil([&] {
          quantization::fake_quantize_backward(at<const float>(dy), at<const std::uint8_t>(mask),
                                               at<float>(dx), n);
        });
      },
      py::arg("dy"), py::arg("mask"), py::arg("dx"), py::arg("n"));
  m.def(
      "lsq_backward_at",
      [](std::uintptr_t dy, std::uintptr_t x, std::uintptr_t dx,
         const std::array<std::size_t, 4>& layout, std::uintptr_t scale, std::uintptr_t zero_point,
         int kind, int lo, int hi, double gradient_scale, std::uintptr_t dscale,
         std::uintptr_t dzero) {
        const FakeQuantizer q = quantizer_at(scale, zero_point, kind, lo, hi);
        without_gil([&] {
          quantization::lsq_backward(at<const float>(dy), at<const float>(x), at<float>(dx),
                                     layout_of(layout), q, gradient_scale, at<float>(dscale),
                                     at<float>(dzero));
        });
      },
      py::arg("dy"), py::arg("x"), py::arg("dx"), py::arg("layout"), py::arg("scale"),
      py::arg("zero_point"), py::arg("kind"), py::arg("lo"), py::arg("hi"),
      py::arg("gradient_scale"), py::arg("dscale"), py::arg("dzero"));
}

}  // namespace

void bind_fake_quantize(py::module_& m) {
  bind_arrays(m);
  bind_addresses(m);
}

}  // namespace tersor::bindings
