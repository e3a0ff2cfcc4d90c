// Products of codes through cuBLASLt, and the passes in front of them and behind.
#include <string>
#include <vector>

#include "bind_cuda.h"
#include "tersor/cuda/cublaslt.h"
#include "tersor/cuda/product.h"
#include "tersor/quantization/cuda.h"

namespace py = pybind11;

namespace tersor::bindings {
namespace {

using cuda::Product;

// rows, outputs, inputs; "int8" or "float8"; the result's type; addresses of x, w, y, the scales
// of float8 (0: none) and the workspace, whose size follows.
using Sizes = std::array<std::size_t, 3>;
using Addresses = std::array<Address, 6>;

Product product_of(const Sizes& sizes, bool float8, const std::string& result, const Addresses& a,
                   std::size_t workspace_bytes) {
  Product p;
  p.rows = sizes[0];
  p.outputs = sizes[1];
  p.inputs = sizes[2];
  p.float8 = float8;
  p.result = result == "int32"     ? Product::Result::int32
             : result == "float32" ? Product::Result::float32
                                   : Product::Result::bfloat16;
  p.x = at(a[0]);
  p.w = at(a[1]);
  p.y = at(a[2]);
  p.x_scale = at<const float>(a[3]);
  p.w_scale = at<const float>(a[4]);
  p.workspace = at(a[5]);
  p.workspace_bytes = workspace_bytes;
  return p;
}

quantization::DeviceRows rows_of(Address x, bool bfloat16, const Sizes& sizes) {
  return {at(x), number_of(bfloat16), sizes[0], sizes[1], sizes[2]};
}

void bind_passes(py::module_& m) {
  m.def("quantize_rows", [](Address x, bool bfloat16, const Sizes& sizes, Address codes,
                            Address scale, Address zero, Address stream) {
    quantization::quantize_rows_cuda(rows_of(x, bfloat16, sizes), at<std::int8_t>(codes),
                                     at<float>(scale), at<std::int32_t>(zero), stream_at(stream));
  });
  m.def("quantize_rows_float8", [](Address x, bool bfloat16, const Sizes& sizes, Address codes,
                                   Address scale, Address stream) {
    quantization::quantize_rows_float8_cuda(rows_of(x, bfloat16, sizes), at<std::uint8_t>(codes),
                                            at<float>(scale), stream_at(stream));
  });
  // Addresses of the row scales, zero points, scales, sums of weights and bias; 0: none.
  m.def("finish_rows", [](Address sums, bool float_sums, const Sizes& sizes, bool one_row,
                          bool one_scale, const std::array<Address, 5>& parts, float low,
                          float high, Address y, bool bfloat16, Address stream) {
    quantization::DeviceFinish f;
    f.sums = at(sums);
    f.float_sums = float_sums;
    f.rows = sizes[0];
    f.outputs = sizes[1];
    f.pitch = sizes[2];
    f.one_row = one_row;
    f.one_scale = one_scale;
    f.row_scale = at<const float>(parts[0]);
    f.zero = at<const std::int32_t>(parts[1]);
    f.scale = at<const float>(parts[2]);
    f.weight_sum = at<const std::int32_t>(parts[3]);
    f.bias = at<const float>(parts[4]);
    f.low = low;
    f.high = high;
    quantization::finish_rows_cuda(f, at(y), number_of(bfloat16), stream_at(stream));
  });
}

}  // namespace

void bind_products(py::module_& m) {
  m.attr("product_workspace") = cuda::kProductWorkspace;
  m.def("load_cublaslt", [](const std::vector<std::string>& files) {
    const cuda::cublaslt::Library& library = cuda::cublaslt::load(files);
    return py::make_tuple(library.path, library.version);
  });
  m.def("product",
        [](const Sizes& sizes, bool float8, const std::string& result, const Addresses& addresses,
           std::size_t workspace_bytes, bool timed, Address stream) {
          const Product p = product_of(sizes, float8, result, addresses, workspace_bytes);
          without_gil([&] { cuda::product_cuda(p, timed, stream_at(stream)); });
        });
  m.def("product_times", [](const Sizes& sizes, bool float8, const std::string& result,
                            const Addresses& addresses, std::size_t workspace_bytes) {
    const cuda::ProductTimes t =
        cuda::product_times(product_of(sizes, float8, result, addresses, workspace_bytes));
    return py::make_tuple(t.first, t.best, t.candidates);
  });
  bind_passes(m);
}

}  // namespace tersor::bindings
