#include "quantization_formats.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <string>

#include "arrays.h"
#include "tersor/coding/bit_packing.h"
#include "tersor/quantization/cast.h"
#include "tersor/quantization/quantize_packed.h"

namespace tersor::bindings {
namespace {

using quantization::FloatFormat;
using quantization::QParams;

// Looked up once: a look-up in ml_dtypes takes 4 us. Never freed, as the interpreter may end first.
py::dtype dtype_of(FloatFormat format) {
  static const char* const kNames[] = {"float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"};
  static const py::dtype* known[4] = {};
  const auto index = static_cast<std::size_t>(format);
  if (!known[index]) known[index] = new py::dtype(dtype_named(kNames[index]));
  return *known[index];
}

void bind_casts(py::module_& m) {
  m.def(
      "cast_to",
      [](const Array<float>& x, const std::string& name, const py::object& out) {
        const FloatFormat format = quantization::float_format_from_name(name);
        py::array y = output_array("cast", out, dtype_of(format), shape_of(x));
        check_apart("cast", "x", x, y);
        void* to = y.mutable_data();
        const auto n = static_cast<std::size_t>(x.size());
        without_gil([&] { quantization::cast_to(x.data(), to, n, format); });
        return y;
      },
      py::arg("x").noconvert(), py::arg("format"), py::arg("out"));
  m.def(
      "cast_from",
      [](const py::array& x, const std::string& name, const py::object& out) {
        const FloatFormat format = quantization::float_format_from_name(name);
        TERSOR_CHECK_TYPE((x.flags() & py::array::c_style) &&
                              static_cast<std::size_t>(x.itemsize()) == size_of(format),
                          "cast: x must be a C-contiguous array of ", name, ", got ",
                          dtype_name(x.dtype()));
        Array<float> y = output_array<float>("cast", out, x);
        check_apart("cast", "x", x, y);
        float* to = y.mutable_data();
        const auto n = static_cast<std::size_t>(x.size());
        without_gil([&] { quantization::cast_from(x.data(), to, n, format); });
        return y;
      },
      py::arg("x"), py::arg("format"), py::arg("out"));
}

using Bytes = Array<std::uint8_t>;

py::array packed_array(const char* op, const py::object& out, std::size_t count, int bits) {
  TERSOR_CHECK(1 <= bits && bits <= 8, op, ": bits must be in [1, 8], got ", bits);
  const auto bytes = static_cast<py::ssize_t>(coding::packed_size(count, bits));
  return output_array(op, out, py::dtype::of<std::uint8_t>(), {bytes});
}

// The number of codes, after a check that `packed` holds exactly them.
std::size_t checked_count(const char* op, const Bytes& packed, const Shape& shape, int bits) {
  TERSOR_CHECK(1 <= bits && bits <= 8, op, ": bits must be in [1, 8], got ", bits);
  for (const py::ssize_t d : shape) {
    TERSOR_CHECK(d >= 0, op, ": shape must have dimensions >= 0, got ", shape_text(shape));
  }
  const std::size_t count = count_of(shape), bytes = coding::packed_size(count, bits);
  TERSOR_CHECK(static_cast<std::size_t>(packed.size()) == bytes, op, ": packed must have ", bytes,
               " bytes for shape ", shape_text(shape), " and ", bits, " bits, got ", packed.size());
  return count;
}

void bind_packing(py::module_& m) {
  m.def(
      "pack_bits",
      [](const Bytes& codes, int bits, const py::object& out) {
        const auto count = static_cast<std::size_t>(codes.size());
        py::array packed = packed_array("pack_bits", out, count, bits);
        check_apart("pack_bits", "codes", codes, packed);
        auto* to = static_cast<std::uint8_t*>(packed.mutable_data());
        without_gil([&] { coding::pack_bits(codes.data(), count, bits, to); });
        return packed;
      },
      py::arg("codes").noconvert(), py::arg("bits"), py::arg("out"));
  m.def(
      "unpack_bits",
      [](const Bytes& packed, int bits, const Shape& shape, bool is_signed, const py::object& out) {
        const std::size_t count = checked_count("unpack_bits", packed, shape, bits);
        const py::dtype dtype = is_signed ? py::dtype::of<std::int8_t>() : packed.dtype();
        py::array codes = output_array("unpack_bits", out, dtype, shape);
        check_apart("unpack_bits", "packed", packed, codes);
        auto* to = static_cast<std::uint8_t*>(codes.mutable_data());
        without_gil([&] { coding::unpack_bits(packed.data(), count, bits, is_signed, to); });
        return codes;
      },
      py::arg("packed").noconvert(), py::arg("bits"), py::arg("shape"), py::arg("signed"),
      py::arg("out"));
  m.def(
      "quantize_packed",
      [](const Array<float>& x, const QParams& q, const py::object& out) {
        const auto count = static_cast<std::size_t>(x.size());
        py::array packed = packed_array("quantize_packed", out, count, q.bits);
        check_apart("quantize_packed", "x", x, packed);
        auto* to = static_cast<std::uint8_t*>(packed.mutable_data());
        const tersor::Shape shape(x.shape(), x.shape() + x.ndim());
        without_gil([&] { quantization::quantize_packed(x.data(), shape, q, to); });
        return packed;
      },
      py::arg("x").noconvert(), py::arg("q"), py::arg("out"));
  m.def(
      "dequantize_packed",
      [](const Bytes& packed, const QParams& q, const Shape& shape, const py::object& out) {
        checked_count("dequantize_packed", packed, shape, q.bits);
        py::array y = output_array("dequantize_packed", out, py::dtype::of<float>(), shape);
        check_apart("dequantize_packed", "packed", packed, y);
        auto* to = static_cast<float*>(y.mutable_data());
        const tersor::Shape dimensions(shape.begin(), shape.end());
        without_gil([&] { quantization::dequantize_packed(packed.data(), dimensions, q, to); });
        return y;
      },
      py::arg("packed").noconvert(), py::arg("q"), py::arg("shape"), py::arg("out"));
}

}  // namespace

void bind_formats(py::module_& m) {
  bind_casts(m);
  bind_packing(m);
}

}  // namespace tersor::bindings
