#include "quantization_dense.h"

#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <string>

#include "arrays.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/dense_codes.h"
#include "tersor/quantization/dense_dynamic.h"

namespace py = pybind11;
using tersor::bindings::Array;
using tersor::bindings::output_array;
using tersor::bindings::without_gil;

namespace {

using tersor::quantization::DenseCodes;
using tersor::quantization::DenseCodesWeights;
using tersor::quantization::DenseDynamic;
using tersor::quantization::DenseDynamicAlgorithm;
using tersor::quantization::DenseDynamicWeights;

std::unique_ptr<DenseCodes> make_dense_codes(const Array<std::int8_t>& codes,
                                             const Array<float>& scale,
                                             const std::optional<Array<float>>& zero_point,
                                             const std::optional<Array<float>>& bias, int bits,
                                             std::int64_t group, float low, float high) {
  TERSOR_CHECK(codes.ndim() == 2, "dense_codes: codes must have 2 dimensions, got ", codes.ndim());
  DenseCodesWeights w;
  w.outputs = codes.shape(0);
  w.inputs = codes.shape(1);
  w.codes = codes.data();
  w.bits = bits;
  w.group = group;
  const py::ssize_t count = w.outputs * w.groups();
  TERSOR_CHECK(group >= 0 && scale.size() == count, "dense_codes: scale must have ", count,
               " elements, got ", scale.size());
  TERSOR_CHECK(!zero_point || zero_point->size() == count, "dense_codes: zero_point must have ",
               count, " elements, got ", zero_point ? zero_point->size() : 0);
  TERSOR_CHECK(!bias || bias->size() == w.outputs, "dense_codes: bias must have ", w.outputs,
               " elements, got ", bias ? bias->size() : 0);
  w.scale = scale.data();
  w.zero_point = zero_point ? zero_point->data() : nullptr;
  w.bias = bias ? bias->data() : nullptr;
  w.low = low;
  w.high = high;
  return std::make_unique<DenseCodes>(w);
}

std::unique_ptr<DenseDynamic> make_dense_dynamic(const Array<std::int8_t>& codes,
                                                 const Array<float>& scale,
                                                 const std::optional<Array<float>>& bias, float low,
                                                 float high, const std::string& algorithm) {
  TERSOR_CHECK(codes.ndim() == 2, "dense_dynamic: codes must have 2 dimensions, got ",
               codes.ndim());
  DenseDynamicWeights w;
  w.outputs = codes.shape(0);
  w.inputs = codes.shape(1);
  w.codes = codes.data();
  TERSOR_CHECK(scale.size() == w.outputs, "dense_dynamic: scale must have ", w.outputs,
               " elements, got ", scale.size());
  TERSOR_CHECK(!bias || bias->size() == w.outputs, "dense_dynamic: bias must have ", w.outputs,
               " elements, got ", bias ? bias->size() : 0);
  w.scale = scale.data();
  w.bias = bias ? bias->data() : nullptr;
  w.low = low;
  w.high = high;
  TERSOR_CHECK(algorithm == "automatic" || algorithm == "pairs" || algorithm == "bytes",
               "dense_dynamic: algorithm must be automatic, pairs or bytes, got ", algorithm);
  const auto chosen = algorithm == "pairs"   ? DenseDynamicAlgorithm::pairs
                      : algorithm == "bytes" ? DenseDynamicAlgorithm::bytes
                                             : DenseDynamicAlgorithm::automatic;
  return std::make_unique<DenseDynamic>(w, chosen);
}

template <class Dense>
py::array run_dense(const Dense& dense, const Array<float>& x, const py::object& out) {
  TERSOR_CHECK(x.ndim() == 2 && x.shape(1) == dense.inputs(), "dense: x must have shape (rows, ",
               dense.inputs(), "), got ",
               tersor::bindings::shape_text(tersor::bindings::shape_of(x)));
  const std::int64_t rows = x.shape(0);
  py::array y = output_array("dense", out, py::dtype::of<float>(), {rows, dense.outputs()});
  tersor::bindings::check_apart("dense", "x", x, y);
  auto* to = static_cast<float*>(y.mutable_data());
  const int threads = tersor::threads();
  tersor::Buffer scratch(dense.scratch_bytes(rows));
  without_gil([&] { dense.run(x.data(), rows, to, scratch.data(), threads); });
  return y;
}

template <class Dense>
void bind_layer(py::class_<Dense>& layer) {
  layer.def("run", &run_dense<Dense>, py::arg("x").noconvert(), py::arg("out"))
      .def_property_readonly("kernel", [](const Dense& d) { return d.kernel(); })
      .def_property_readonly("packed_bytes", [](const Dense& d) { return d.packed_bytes(); });
}

}  // namespace

void tersor::bindings::bind_dense(py::module_& m) {
  py::class_<DenseCodes> codes(m, "DenseCodes");
  codes.def(py::init(&make_dense_codes), py::arg("codes").noconvert(), py::arg("scale").noconvert(),
            py::arg("zero_point").noconvert(), py::arg("bias").noconvert(), py::arg("bits"),
            py::arg("group"), py::arg("low"), py::arg("high"));
  bind_layer(codes);
  py::class_<DenseDynamic> dynamic(m, "DenseDynamic");
  dynamic.def(py::init(&make_dense_dynamic), py::arg("codes").noconvert(),
              py::arg("scale").noconvert(), py::arg("bias").noconvert(), py::arg("low"),
              py::arg("high"), py::arg("algorithm"));
  bind_layer(dynamic);
}
