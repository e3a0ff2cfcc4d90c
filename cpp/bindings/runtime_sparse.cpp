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

}  // namespace

void bind_sparse_pays(py::module_& m) {
  m.attr("BREAK_EVEN_VERSION") = tr::kBreakEvenVersion;
  m.def(
      "sparse_pays",
      [](int64_t batch, const Image& input, const Image& output, const Pair& kernel,
         const Pair& strides, const Pair& dilations, const Pair& pads, double density) {
        return tr::sparse_pays(conv_shape(batch, input, output, kernel, strides, dilations, pads),
                               density);
      },
      py::arg("batch"), py::arg("input"), py::arg("output"), py::arg("kernel"), py::arg("strides"),
      py::arg("dilations"), py::arg("pads"), py::arg("density"));
  m.def(
      "winograd_pays",
      [](int64_t batch, const Image& input, const Image& output, const Pair& kernel,
         const Pair& strides, const Pair& dilations, const Pair& pads) {
        return tr::winograd_pays(
            conv_shape(batch, input, output, kernel, strides, dilations, pads));
      },
      py::arg("batch"), py::arg("input"), py::arg("output"), py::arg("kernel"), py::arg("strides"),
      py::arg("dilations"), py::arg("pads"));
}

}  // namespace tersor::bindings
