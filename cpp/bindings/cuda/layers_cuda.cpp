// Layers of few rows and sparse products, and the passes of k-means.
#include "bind_cuda.h"
#include "tersor/codebook/cuda.h"
#include "tersor/quantization/cuda.h"
#include "tersor/sparse/cuda.h"

namespace py = pybind11;

namespace tersor::bindings {

void bind_layers_cuda(py::module_& m) {
  m.def("dense_int4",
        [](Address codes, bool is_signed, bool tiled, const std::array<std::size_t, 3>& sizes,
           Address scale, Address zero_point, Address bias, float low, float high, Address x,
           bool bfloat16, std::size_t rows, Address y, Address stream) {
          quantization::DeviceDenseInt4 d;
          d.codes = at<const std::uint8_t>(codes);
          d.is_signed = is_signed;
          d.tiled = tiled;
          d.outputs = sizes[0];
          d.inputs = sizes[1];
          d.group = sizes[2];
          d.scale = at<const float>(scale);
          d.zero_point = at<const float>(zero_point);
          d.bias = at<const float>(bias);
          d.low = low;
          d.high = high;
          quantization::dense_int4_cuda(d, at(x), number_of(bfloat16), rows, at<float>(y),
                                        stream_at(stream));
        });
  m.def("lookup_dense", [](Address codes, const std::array<std::size_t, 3>& sizes, Address tables,
                           Address bias, float low, float high, Address x, bool bfloat16,
                           std::size_t rows, Address y, Address stream) {
    codebook::DeviceLookup d;
    d.codes = at<const std::uint8_t>(codes);
    d.outputs = sizes[0];
    d.inputs = sizes[1];
    d.group = sizes[2];
    d.tables = at<const float>(tables);
    d.bias = at<const float>(bias);
    d.low = low;
    d.high = high;
    codebook::lookup_dense_cuda(d, at(x), number_of(bfloat16), rows, at<float>(y),
                                stream_at(stream));
  });
  // format, rows, columns, height, width, n, m; values, indices, positions, starts.
  m.def("spmm", [](const std::array<std::size_t, 7>& sizes, const std::array<Address, 4>& parts,
                   Address bias, float low, float high, Address x, std::size_t products, Address y,
                   Address stream) {
    sparse::DeviceSparse w;
    w.format = static_cast<sparse::DeviceSparse::Format>(sizes[0]);
    w.rows = sizes[1];
    w.columns = sizes[2];
    w.height = sizes[3];
    w.width = sizes[4];
    w.n = sizes[5];
    w.m = sizes[6];
    w.values = at<const float>(parts[0]);
    w.indices = at<const std::int32_t>(parts[1]);
    w.positions = at<const std::uint8_t>(parts[2]);
    w.starts = at<const std::int32_t>(parts[3]);
    w.bias = at<const float>(bias);
    w.low = low;
    w.high = high;
    sparse::spmm_cuda(w, at<const float>(x), products, at<float>(y), stream_at(stream));
  });
  m.def("dense_24", [](Address values, Address places, const std::array<std::size_t, 2>& sizes,
                       Address bias, float low, float high, Address x, std::size_t rows, Address y,
                       bool bfloat16, Address stream) {
    const sparse::DeviceDense24 d = {at<const std::uint32_t>(values),
                                     at<const std::uint32_t>(places),
                                     sizes[0],
                                     sizes[1],
                                     at<const float>(bias),
                                     low,
                                     high};
    sparse::dense_24_cuda(d, at(x), rows, at(y), number_of(bfloat16), stream_at(stream));
  });
  m.attr("float_bins") = codebook::kFloatBins;
  m.attr("most_counted") = codebook::kMostCounted;
  m.def("count_floats",
        [](Address x, std::size_t n, bool skip_zeros, Address counts, Address bad, Address stream) {
          codebook::count_floats_cuda(at<const float>(x), n, skip_zeros, at<std::uint64_t>(counts),
                                      at<std::int32_t>(bad), stream_at(stream));
        });
  m.def("assign", [](Address x, std::size_t n, Address thresholds, int count, Address centroids,
                     int zero, Address codes, Address error, Address stream) {
    codebook::assign_cuda(at<const float>(x), n, at<const float>(thresholds), count,
                          at<const float>(centroids), zero, at<std::uint8_t>(codes),
                          at<double>(error), stream_at(stream));
  });
}

}  // namespace tersor::bindings
