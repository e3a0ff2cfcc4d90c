// QParams as a Python class, and arrays by it; called by bind_quantization.
#include "quantization_qparams.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <variant>

#include "tersor/quantization/qparams.h"

namespace tersor::bindings {

using quantization::QParams;

namespace {

using Axis = std::optional<std::variant<int, std::vector<int>>>;

// None, one axis, or a tuple of consecutive ones.
void set_axes(QParams& q, const Axis& axis) {
  q.axis = -1;
  if (!axis) return;
  if (const int* one = std::get_if<int>(&*axis)) {
    q.axis = *one;
    return;
  }
  const auto& axes = std::get<std::vector<int>>(*axis);
  TERSOR_CHECK(!axes.empty(), "QParams: axis must not be an empty tuple, got ()");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    TERSOR_CHECK(axes[i] == axes[0] + static_cast<int>(i),
                 "QParams: axis must be a tuple of consecutive axes, got ", axes[i], " after ",
                 axes[i - (i > 0)]);
  }
  q.axis = axes[0];
  q.axis_count = static_cast<int>(axes.size());
}

py::object axes_of(const QParams& q) {
  if (q.axis < 0) return py::none();
  if (q.axis_count == 1) return py::int_(q.axis);
  py::tuple axes(static_cast<std::size_t>(q.axis_count));
  for (int i = 0; i < q.axis_count; ++i) axes[static_cast<std::size_t>(i)] = q.axis + i;
  return axes;
}

py::tuple state_of(const QParams& q) {
  return py::make_tuple(q.scale, q.zero_point, q.bits, q.is_signed, q.narrow, q.axis, q.group_size,
                        q.axis_count, q.zero_point_float, q.codebook, q.codebook_tables);
}

QParams from_state(const py::tuple& t) {
  TERSOR_CHECK(t.size() == 11, "QParams: state must have 11 parts, got ", t.size());
  return {t[0].cast<std::vector<float>>(),
          t[1].cast<std::vector<int32_t>>(),
          t[2].cast<int>(),
          t[3].cast<bool>(),
          t[4].cast<bool>(),
          t[5].cast<int>(),
          t[6].cast<int>(),
          t[7].cast<int>(),
          t[8].cast<std::vector<float>>(),
          t[9].cast<std::vector<float>>(),
          t[10].cast<int>()};
}

template <class T>
py::array_t<T> copy_of(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// A table of k values, or several: the codes' bits and sign follow from k.
void set_codebook(QParams& q, const py::object& codebook) {
  const auto values =
      py::array_t<float, py::array::c_style | py::array::forcecast>::ensure(codebook);
  if (!values) throw py::error_already_set();
  TERSOR_CHECK((values.ndim() == 1 || values.ndim() == 2) && values.size() > 0,
               "QParams: codebook must have shape (k,) or (tables, k), got ",
               shape_text(shape_of(values)));
  q.codebook_tables = values.ndim() == 2 ? static_cast<int>(values.shape(0)) : 1;
  q.codebook.assign(values.data(), values.data() + values.size());
  q.bits = quantization::codebook_bits(q.codebook_size());
  q.is_signed = q.narrow = false;
}

py::object codebook_of(const QParams& q) {
  if (!q.has_codebook()) return py::none();
  py::array_t<float> out(
      {static_cast<py::ssize_t>(q.codebook_tables), static_cast<py::ssize_t>(q.codebook_size())});
  std::copy(q.codebook.begin(), q.codebook.end(), out.mutable_data());
  return out;
}

Shape dimensions(const py::array& x) { return {x.shape(), x.shape() + x.ndim()}; }

tersor::Shape tensor_shape(const py::array& x) { return {x.shape(), x.shape() + x.ndim()}; }

void bind_arrays(py::module_& m) {
  m.def(
      "quantize",
      [](const Array<float>& x, const QParams& q, const py::object& out) {
        const py::dtype dtype = q.is_signed ? py::dtype::of<int8_t>() : py::dtype::of<uint8_t>();
        py::array codes = output_array("quantize", out, dtype, dimensions(x));
        check_apart("quantize", "x", x, codes);
        void* to = codes.mutable_data();
        without_gil([&] { quantization::quantize(x.data(), tensor_shape(x), q, to); });
        return codes;
      },
      py::arg("x").noconvert(), py::arg("q"), py::arg("out"));
  m.def(
      "dequantize",
      [](const py::array& codes, const QParams& q, const py::object& out) {
        const bool contiguous = codes.flags() & py::array::c_style;
        TERSOR_CHECK_TYPE(contiguous && codes.dtype().kind() == (q.is_signed ? 'i' : 'u') &&
                              codes.itemsize() == 1,
                          "dequantize: xq must be a C-contiguous array of ",
                          q.is_signed ? "int8" : "uint8", ", got ", dtype_name(codes.dtype()));
        Array<float> y = output_array<float>("dequantize", out, codes);
        check_apart("dequantize", "xq", codes, y);
        float* to = y.mutable_data();
        without_gil([&] { quantization::dequantize(codes.data(), tensor_shape(codes), q, to); });
        return y;
      },
      py::arg("xq"), py::arg("q"), py::arg("out"));
}

}  // namespace

void bind_qparams(py::module_& m) {
  py::class_<QParams>(
      m, "QParams",
      "Parameters of affine quantization: ``value = scale[s] * (code - zero_point[s])``.\n\n"
      "Attributes are ``scale`` (float32), ``zero_point`` (int32), ``bits`` in [2, 8], "
      "``signed``,\n"
      "``narrow`` (symmetric codes of weights), ``axis`` (None: one scale for the tensor; an axis "
      "or\n"
      "a tuple of consecutive axes, flattened together), ``group_size`` (0: one scale per index of "
      "the\n"
      "axes; otherwise one per so many of them in a row, the last group may be short, and scales "
      "lie\n"
      "as [outer][groups][inner]), ``zero_point_float`` (None, or float32 in place of "
      "``zero_point``),\n"
      "``code_min`` and ``code_max``.")
      .def(py::init([](std::vector<float> scale, std::vector<int32_t> zero_point, int bits,
                       bool is_signed, bool narrow, const Axis& axis, int group_size,
                       std::optional<std::vector<float>> zero_point_float,
                       const py::object& codebook) {
             QParams q;
             q.scale = std::move(scale);
             q.zero_point = std::move(zero_point);
             q.bits = bits;
             q.is_signed = is_signed;
             q.narrow = narrow;
             q.group_size = group_size;
             set_axes(q, axis);
             if (zero_point_float) q.zero_point_float = std::move(*zero_point_float);
             if (!codebook.is_none()) set_codebook(q, codebook);
             return q;
           }),
           py::kw_only(), py::arg("scale"), py::arg("zero_point"), py::arg("bits") = 8,
           py::arg("signed") = true, py::arg("narrow") = false, py::arg("axis") = py::none(),
           py::arg("group_size") = 0, py::arg("zero_point_float") = py::none(),
           py::arg("codebook") = py::none())
      .def_property_readonly("scale", [](const QParams& q) { return copy_of(q.scale); })
      .def_property_readonly("zero_point", [](const QParams& q) { return copy_of(q.zero_point); })
      .def_property_readonly("zero_point_float",
                             [](const QParams& q) {
                               return q.has_float_zero() ? py::object(copy_of(q.zero_point_float))
                                                         : py::object(py::none());
                             })
      .def_readonly("bits", &QParams::bits)
      .def_readonly("signed", &QParams::is_signed)
      .def_readonly("narrow", &QParams::narrow)
      .def_property_readonly("axis", &axes_of)
      .def_readonly("group_size", &QParams::group_size)
      .def_property_readonly("codebook", &codebook_of)
      .def_property_readonly("code_min", &QParams::code_min)
      .def_property_readonly("code_max", &QParams::code_max)
      .def("__eq__",
           [](const QParams& a, const py::object& b) {
             return py::isinstance<QParams>(b) && a == py::cast<const QParams&>(b);
           })
      .def(py::pickle(&state_of, &from_state))
      .def("__repr__", [](const QParams& q) {
        std::string text =
            message("QParams(", q.scale.size(), " scale", q.scale.size() == 1 ? "" : "s",
                    ", bits=", q.bits, ", signed=", q.is_signed ? "True" : "False",
                    ", axis=", py::cast<std::string>(py::str(axes_of(q))));
        if (q.has_codebook()) text += message(", codebook of ", q.codebook_size());
        if (q.group_size) text += message(", group_size=", q.group_size);
        return text + (q.has_float_zero() ? ", float zero points)" : ")");
      });
  bind_arrays(m);
}

}  // namespace tersor::bindings
