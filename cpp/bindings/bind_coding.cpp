#include <pybind11/pybind11.h>

#include "arrays.h"
#include "tersor/coding/histogram.h"
#include "tersor/coding/symbols.h"

namespace py = pybind11;
namespace tc = tersor::coding;
using tersor::bindings::Array;
using tersor::bindings::empty_array;
using tersor::bindings::without_gil;

namespace {

using Bytes = Array<uint8_t>;

py::bytes encode(const Bytes& symbols, const std::string& method, size_t row, size_t taps) {
  const tc::Geometry geometry{row, taps};
  const auto count = static_cast<size_t>(symbols.size());
  const auto coded = without_gil([&] {
    if (method == "fast")
      return tc::encode_smallest(symbols.data(), count, geometry, tc::Profile::fast);
    if (method == "small")
      return tc::encode_smallest(symbols.data(), count, geometry, tc::Profile::small);
    return tc::encode_symbols(symbols.data(), count, geometry, tc::method_named(method));
  });
  return {reinterpret_cast<const char*>(coded.data()), coded.size()};
}

py::array decode(const py::buffer& data, size_t count, size_t row, size_t taps) {
  const py::buffer_info info = data.request();
  const auto size = static_cast<size_t>(info.size * info.itemsize);
  if (count > tc::most_symbols(size))
    throw tersor::ArtifactError(
        tersor::message("coding: ", size, " bytes cannot hold ", count, " symbols"));
  Bytes out = empty_array<uint8_t>({static_cast<py::ssize_t>(count)});
  uint8_t* to = out.mutable_data();
  without_gil([&] {
    tc::decode_symbols(static_cast<const uint8_t*>(info.ptr), size, {row, taps}, to, count);
  });
  return out;
}

}  // namespace

void bind_coding(py::module_& m) {
  m.def("encode", encode, py::arg("symbols").noconvert(), py::arg("method"), py::arg("row"),
        py::arg("taps"), "method: u8 and blocks, see coding/symbols.h.");
  m.def("decode", decode, py::arg("data"), py::arg("count"), py::arg("row"), py::arg("taps"));
  m.def(
      "method_of",
      [](int method) {
        if (method < 0 || method >= tc::kMethodCount)
          throw tersor::ArtifactError("coding: a stream has an unknown method");
        return tc::name_of(static_cast<tc::Method>(method));
      },
      py::arg("method"));
  m.def(
      "entropy",
      [](const Bytes& symbols) {
        return without_gil([&] {
          return tc::entropy(tc::histogram(symbols.data(), static_cast<size_t>(symbols.size())));
        });
      },
      py::arg("symbols").noconvert(), "Bits a symbol.");
}
