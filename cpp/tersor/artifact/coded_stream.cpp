#include "tersor/artifact/coded_stream.h"

#include "tersor/artifact/sparse_stream.h"
#include "tersor/base/error.h"
#include "tersor/coding/float_planes.h"

namespace tersor::artifact {
namespace {

constexpr size_t kLeastBytes = 256;  // smaller streams are not worth a table
constexpr size_t kLeastSaving = 32;  // a part of the plain form, of the fast profile
constexpr uint8_t kSignBit = 0x80;

coding::Geometry geometry_of(const Tensor& t) {
  const Shape& shape = t.shape();
  const auto elements = static_cast<size_t>(t.size());
  if (shape.size() < 2 || elements == 0) return {elements ? elements : 1, 1};
  const size_t row = elements / static_cast<size_t>(shape[0]);
  return {row, row / static_cast<size_t>(shape[1])};
}

bool is_symbols(DType dtype) { return dtype == DType::int8 || dtype == DType::uint8; }

}  // namespace

bool has_coded_form(DType dtype) {
  return is_symbols(dtype) || dtype == DType::float32 || dtype == DType::float16 ||
         dtype == DType::bfloat16;
}

std::vector<uint8_t> encode_coded_stream(const Tensor& tensor, coding::Profile profile,
                                         size_t plain_bytes) {
  const auto count = static_cast<size_t>(tensor.size());
  if (!has_coded_form(tensor.dtype()) || plain_bytes < kLeastBytes) return {};
  const coding::Geometry geometry = geometry_of(tensor);
  std::vector<uint8_t> out;
  if (!is_symbols(tensor.dtype())) {
    out = coding::encode_floats(tensor.data(), count, size_of(tensor.dtype()), geometry, profile);
  } else {
    const auto* bytes = tensor.as<uint8_t>();
    std::vector<uint8_t> symbols(bytes, bytes + count);
    if (tensor.dtype() == DType::int8) {
      for (uint8_t& s : symbols) s ^= kSignBit;
    }
    out = coding::encode_smallest(symbols.data(), count, geometry, profile);
  }
  const size_t least = profile == coding::Profile::fast ? plain_bytes / kLeastSaving : 1;
  const bool pays =
      out.size() + least <= plain_bytes && count <= kSparseElementsPerByte * out.size();
  return pays ? out : std::vector<uint8_t>{};
}

void decode_coded_stream(const uint8_t* data, size_t size, Tensor& tensor) {
  const auto count = static_cast<size_t>(tensor.size());
  const coding::Geometry geometry = geometry_of(tensor);
  if (!is_symbols(tensor.dtype())) {
    coding::decode_floats(data, size, size_of(tensor.dtype()), geometry, tensor.data(), count);
    return;
  }
  auto* symbols = tensor.as<uint8_t>();
  coding::decode_symbols(data, size, geometry, symbols, count);
  if (tensor.dtype() == DType::int8) {
    for (size_t i = 0; i < count; ++i) symbols[i] ^= kSignBit;
  }
}

}  // namespace tersor::artifact
