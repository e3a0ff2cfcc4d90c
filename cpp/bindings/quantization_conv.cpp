#include "quantization_conv.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>

#include "arrays.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/conv_int8.h"

namespace py = pybind11;
using tersor::bindings::Array;
using tersor::bindings::check_apart;
using tersor::bindings::output_array;
using tersor::bindings::Sharing;
using tersor::bindings::without_gil;

namespace {

namespace quantization = tersor::quantization;
using quantization::ConvInt8;
using quantization::ConvInt8Algorithm;
using quantization::ConvInt8Epilogue;
using quantization::ConvInt8Shape;

ConvInt8Algorithm algorithm_named(const std::string& name) {
  for (const auto algorithm :
       {ConvInt8Algorithm::automatic, ConvInt8Algorithm::direct, ConvInt8Algorithm::bytes,
        ConvInt8Algorithm::winograd, ConvInt8Algorithm::depthwise}) {
    if (name == quantization::name_of(algorithm)) return algorithm;
  }
  TERSOR_CHECK(false,
               "conv_int8: algorithm must be automatic, direct, bytes, winograd or depthwise, got ",
               name);
}

bool is_exact(const std::string& arithmetic) {
  TERSOR_CHECK(arithmetic == "fast" || arithmetic == "exact",
               "conv_int8: arithmetic must be fast or exact, got ", arithmetic);
  return arithmetic == "exact";
}

quantization::QParams per_tensor(double scale, int zero_point) {
  quantization::QParams q;
  q.scale = {static_cast<float>(scale)};
  q.zero_point = {zero_point};
  return q;
}

struct Layer {
  ConvInt8Shape shape;
  std::unique_ptr<ConvInt8> conv;
  bool add;
};

std::unique_ptr<Layer> make_layer(
    const std::vector<int64_t>& input, const Array<std::int8_t>& weights,
    const std::optional<Array<std::int32_t>>& bias, int zero_point, const Array<double>& multiplier,
    double scale, int output_zero_point, int lo, int hi, const std::vector<int64_t>& strides,
    const std::vector<int64_t>& pads, const std::vector<int64_t>& dilations, int64_t groups,
    const std::optional<std::vector<double>>& add, const std::string& arithmetic,
    const std::string& algorithm) {
  TERSOR_CHECK(input.size() == 4, "conv_int8: x must have 4 dimensions, got ", input.size());
  TERSOR_CHECK(weights.ndim() == 4, "conv_int8: weights must have 4 dimensions, got ",
               weights.ndim());
  TERSOR_CHECK(strides.size() == 2 && dilations.size() == 2 && pads.size() == 4,
               "conv_int8: strides and dilations must have 2 elements and pads 4, got ",
               strides.size(), ", ", dilations.size(), " and ", pads.size());
  TERSOR_CHECK(-128 <= lo && lo <= hi && hi <= 127,
               "conv_int8: lo and hi must satisfy -128 <= lo <= hi <= 127, got ", lo, " and ", hi);
  TERSOR_CHECK(-128 <= output_zero_point && output_zero_point <= 127,
               "conv_int8: output_zero_point must be in [-128, 127], got ", output_zero_point);
  auto layer = std::make_unique<Layer>();
  ConvInt8Shape& s = layer->shape;
  s.batch = input[0];
  s.height = input[1];
  s.width = input[2];
  s.channels = input[3];
  s.out_channels = weights.shape(0);
  s.kernel_h = weights.shape(2);
  s.kernel_w = weights.shape(3);
  s.stride_h = strides[0];
  s.stride_w = strides[1];
  s.pad_top = pads[0];
  s.pad_left = pads[1];
  s.pad_bottom = pads[2];
  s.pad_right = pads[3];
  s.dilation_h = dilations[0];
  s.dilation_w = dilations[1];
  s.groups = groups;
  TERSOR_CHECK(groups > 0 && s.channels % groups == 0 && weights.shape(1) == s.channels / groups,
               "conv_int8: weights must have channels / groups input channels, got ",
               weights.shape(1), " for ", s.channels, " channels and ", groups, " groups");
  TERSOR_CHECK(!bias || bias->size() == s.out_channels, "conv_int8: bias must have ",
               s.out_channels, " elements, got ", bias ? bias->size() : 0);
  TERSOR_CHECK(multiplier.size() == s.out_channels, "conv_int8: multiplier must have ",
               s.out_channels, " elements, got ", multiplier.size());
  ConvInt8Epilogue epilogue;
  epilogue.exact = is_exact(arithmetic);
  const quantization::QParams output = per_tensor(scale, output_zero_point);
  for (int64_t o = 0; o < s.out_channels; ++o) {
    epilogue.requantizers.push_back(
        quantization::requantizer(multiplier.data()[o], output, {lo, hi}));
  }
  layer->add = add.has_value();
  if (add) {  // scale and zero point of the residual, those of the result, its smallest and largest
              // code
    TERSOR_CHECK(add->size() == 6, "conv_int8: add must have 6 elements, got ", add->size());
    const auto& a = *add;
    const auto code = [&](size_t i) { return static_cast<int>(a[i]); };
    epilogue.adder = quantization::code_adder(output, per_tensor(a[0], code(1)),
                                              per_tensor(a[2], code(3)), false, {code(4), code(5)});
  }
  layer->conv =
      std::make_unique<ConvInt8>(s, weights.data(), bias ? bias->data() : nullptr, zero_point,
                                 std::move(epilogue), algorithm_named(algorithm));
  return layer;
}

std::vector<py::ssize_t> output_shape(const ConvInt8Shape& s) {
  return {s.batch, s.out_height(), s.out_width(), s.out_channels};
}

void check_input(const Layer& layer, const Array<std::int8_t>& x) {
  const ConvInt8Shape& s = layer.shape;
  const std::vector<py::ssize_t> wanted = {s.batch, s.height, s.width, s.channels};
  TERSOR_CHECK(tersor::bindings::shape_of(x) == wanted, "conv_int8: x must have shape ",
               tersor::bindings::shape_text(wanted), ", got ",
               tersor::bindings::shape_text(tersor::bindings::shape_of(x)));
}

py::array run(const Layer& layer, const Array<std::int8_t>& x,
              const std::optional<Array<std::int8_t>>& residual, const py::object& out) {
  check_input(layer, x);
  const auto shape = output_shape(layer.shape);
  TERSOR_CHECK(residual.has_value() == layer.add &&
                   (!residual || tersor::bindings::shape_of(*residual) == shape),
               "conv_int8: residual must be given with add, in the shape of the output ",
               tersor::bindings::shape_text(shape));
  py::array y = output_array("conv_int8", out, py::dtype::of<std::int8_t>(), shape);
  check_apart("conv_int8", "x", x, y);
  if (residual) check_apart("conv_int8", "residual", *residual, y, Sharing::in_place);
  auto* codes = static_cast<std::int8_t*>(y.mutable_data());
  const int threads = tersor::threads();
  tersor::Buffer scratch(layer.conv->scratch_bytes(threads));
  without_gil([&] {
    layer.conv->run(x.data(), residual ? residual->data() : nullptr, codes, scratch.data(),
                    threads);
  });
  return y;
}

py::array accumulate(const Layer& layer, const Array<std::int8_t>& x, const py::object& out) {
  check_input(layer, x);
  py::array y =
      output_array("conv_int8", out, py::dtype::of<std::int32_t>(), output_shape(layer.shape));
  check_apart("conv_int8", "x", x, y);
  auto* sums = static_cast<std::int32_t*>(y.mutable_data());
  const int threads = tersor::threads();
  tersor::Buffer scratch(layer.conv->scratch_bytes(threads));
  without_gil([&] { layer.conv->accumulate(x.data(), sums, scratch.data(), threads); });
  return y;
}

}  // namespace

void tersor::bindings::bind_conv_int8(py::module_& m) {
  py::class_<Layer>(m, "ConvInt8")
      .def(py::init(&make_layer), py::arg("input_shape"), py::arg("weights").noconvert(),
           py::arg("bias").noconvert(), py::arg("zero_point"), py::arg("multiplier").noconvert(),
           py::arg("scale"), py::arg("output_zero_point"), py::arg("lo"), py::arg("hi"),
           py::arg("strides"), py::arg("pads"), py::arg("dilations"), py::arg("groups"),
           py::arg("add"), py::arg("arithmetic"), py::arg("algorithm"))
      .def("run", &run, py::arg("x").noconvert(), py::arg("residual").noconvert(), py::arg("out"))
      .def("accumulate", &accumulate, py::arg("x").noconvert(), py::arg("out"))
      .def_property_readonly(
          "algorithm", [](const Layer& l) { return quantization::name_of(l.conv->algorithm()); })
      .def_property_readonly("kernel", [](const Layer& l) { return l.conv->kernel(); })
      .def_property_readonly("packed_bytes", [](const Layer& l) { return l.conv->packed_bytes(); });

  m.def(
      "requantize",
      [](const Array<std::int32_t>& sums, const Array<double>& multiplier, int zero_point, int lo,
         int hi, const std::string& arithmetic, const py::object& out) {
        TERSOR_CHECK(multiplier.size() == 1 ||
                         (sums.ndim() > 0 && multiplier.size() == sums.shape(sums.ndim() - 1)),
                     "requantize: multiplier must have one element, or one per channel of the last "
                     "axis, got ",
                     multiplier.size());
        TERSOR_CHECK(-128 <= lo && lo <= hi && hi <= 127,
                     "requantize: lo and hi must satisfy -128 <= lo <= hi <= 127, got ", lo,
                     " and ", hi);
        const bool exact = is_exact(arithmetic);
        auto y = output_array<std::int8_t>("requantize", out, sums);
        check_apart("requantize", "sums", sums, y);
        auto* codes = y.mutable_data();
        std::vector<quantization::Requantizer> requantizers;
        for (py::ssize_t c = 0; c < multiplier.size(); ++c) {
          requantizers.push_back(
              quantization::requantizer(multiplier.data()[c], per_tensor(1, zero_point), {lo, hi}));
        }
        without_gil([&] {
          quantization::requantize(sums.data(), codes, static_cast<size_t>(sums.size()),
                                   requantizers, exact);
        });
        return y;
      },
      py::arg("sums").noconvert(), py::arg("multiplier").noconvert(), py::arg("zero_point"),
      py::arg("lo"), py::arg("hi"), py::arg("arithmetic"), py::arg("out"));
}
