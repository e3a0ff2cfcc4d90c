#include "runtime_sparse.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#include "tersor/base/error.h"
#include "tersor/runtime/conv_spec_float32.h"
#include "tersor/runtime/sparse_pays.h"

namespace py = pybind11;
namespace tr = tersor::runtime;

namespace tersor::bindings {
namespace {

using Pair = std::array<int64_t, 2>;   // vertical, horizontal
using Image = std::array<int64_t, 3>;  // height, width, channels

tr::ConvShapeFloat32 conv_shape(int64_t batch, const Image& input, const Image& output,
                                const Pair& kernel, const Pair& strides, const Pair& dilations,
                                const Pair& pads) {
  const auto positive = [](const auto& values) {
    return std::all_of(values.begin(), values.end(), [](int64_t v) { return 0 < v; });
  };
  TERSOR_CHECK(0 < batch && positive(input) && positive(output) && positive(kernel) &&
                   positive(strides) && positive(dilations),
               "sparse_pays: sizes of shape must be positive");
  TERSOR_CHECK(0 <= pads[0] && 0 <= pads[1], "sparse_pays: pads must not be negative, got ",
               pads[0], " and ", pads[1]);
  tr::ConvShapeFloat32 s;
  s.batch = batch;
  s.input_height = input[0], s.input_width = input[1], s.input_channels = input[2];
  s.output_height = output[0], s.output_width = output[1], s.output_channels = output[2];
  s.kernel_height = kernel[0], s.kernel_width = kernel[1];
  s.stride_y = strides[0], s.stride_x = strides[1];
  s.dilation_y = dilations[0], s.dilation_x = dilations[1];
  s.pad_top = pads[0], s.pad_left = pads[1];
  return s;
}

quantization::ConvInt8Shape conv_shape_int8(const tr::ConvShapeFloat32& s) {
  quantization::ConvInt8Shape q;
  q.batch = s.batch;
  q.height = s.input_height, q.width = s.input_width, q.channels = s.input_channels;
  q.out_channels = s.output_channels;
  q.kernel_h = s.kernel_height, q.kernel_w = s.kernel_width;
  q.stride_h = s.stride_y, q.stride_w = s.stride_x;
  q.dilation_h = s.dilation_y, q.dilation_w = s.dilation_x;
  q.pad_top = s.pad_top, q.pad_left = s.pad_left;
  // What makes the output as large as it is.
  q.pad_bottom = (s.output_height - 1) * q.stride_h + q.dilation_h * (q.kernel_h - 1) + 1 -
                 q.height - q.pad_top;
  q.pad_right = (s.output_width - 1) * q.stride_w + q.dilation_w * (q.kernel_w - 1) + 1 - q.width -
                q.pad_left;
  return q;
}

}  // namespace

void bind_sparse_pays(py::module_& m) {
  m.attr("BREAK_EVEN_VERSION") = tr::kBreakEvenVersion;
  m.def(
      "sparse_pays",
      [](int64_t batch, const Image& input, const Image& output, const Pair& kernel,
         const Pair& strides, const Pair& dilations, const Pair& pads, bool int8, double density) {
        const auto s = conv_shape(batch, input, output, kernel, strides, dilations, pads);
        if (!int8) return tr::sparse_pays(s, density);
        return s.input_channels % 4 == 0 && tr::sparse_pays_int8(conv_shape_int8(s), density);
      },
      py::arg("batch"), py::arg("input"), py::arg("output"), py::arg("kernel"), py::arg("strides"),
      py::arg("dilations"), py::arg("pads"), py::arg("int8"), py::arg("density"));
  m.def(
      "winograd_pays",
      [](int64_t batch, const Image& input, const Image& output, const Pair& kernel,
         const Pair& strides, const Pair& dilations, const Pair& pads, bool int8) {
        const auto s = conv_shape(batch, input, output, kernel, strides, dilations, pads);
        return int8 ? quantization::winograd_pays(conv_shape_int8(s)) : tr::winograd_pays(s);
      },
      py::arg("batch"), py::arg("input"), py::arg("output"), py::arg("kernel"), py::arg("strides"),
      py::arg("dilations"), py::arg("pads"), py::arg("int8"));
}

}  // namespace tersor::bindings
