#include "tersor/artifact/sparse_stream.h"

#include <algorithm>
#include <cstring>

#include "tersor/artifact/byte_stream.h"
#include "tersor/base/error.h"
#include "tersor/coding/bit_packing.h"
#include "tersor/coding/mask.h"

namespace tersor::artifact {
namespace {

using coding::MaskForm;
using coding::MaskUnits;

// Widths of blocks that are tried beside single elements.
constexpr int64_t kWidths[] = {2, 4, 8, 16};

size_t at(int64_t i) { return static_cast<size_t>(i); }

// Calls visit(element) for the elements of the kept units, in the order of the stream.
template <class Visit>
void for_each_kept(const std::vector<int64_t>& kept, const MaskUnits& u, const Visit& visit) {
  for (const int64_t unit : kept) {
    const int64_t line = unit / u.inner, inner = unit % u.inner;
    const int64_t outer = line / u.per_axis(), first = line % u.per_axis() * u.width;
    const int64_t end = std::min(first + u.width, u.axis);
    for (int64_t a = first; a < end; ++a) visit((outer * u.axis + a) * u.inner + inner);
  }
}

int64_t kept_elements(const std::vector<int64_t>& kept, const MaskUnits& u) {
  int64_t n = 0;
  for_each_kept(kept, u, [&](int64_t) { ++n; });
  return n;
}

size_t value_bytes(int64_t count, size_t item, int bits) {
  return bits < 8 && item == 1 ? coding::packed_size(at(count), bits) : at(count) * item;
}

// Cuts along which weights are pruned in blocks: inputs of a [outputs][inputs][...] weight, all
// that an output reads flattened, inputs of a matrix product.
std::vector<MaskUnits> cuts_of(const Tensor& t) {
  const Shape& shape = t.shape();
  const int64_t elements = t.size();
  std::vector<MaskUnits> cuts{{1, elements, 1, 1}};
  if (shape.size() < 2) return cuts;
  const int64_t per_output = elements / shape[0];
  const int64_t inner = per_output / shape[1];
  for (const int64_t width : kWidths) {
    cuts.push_back({shape[0], per_output, 1, width});
    if (inner > 1) cuts.push_back({shape[0], shape[1], inner, width});
    cuts.push_back({1, shape[0], per_output, width});
  }
  return cuts;
}

// Little-endian; the sign of a float is the highest bit.
bool is_zero(const uint8_t* p, size_t item, bool is_float) {
  uint8_t any = is_float ? p[item - 1] & 0x7F : p[item - 1];
  for (size_t i = 0; i + 1 < item; ++i) any |= p[i];
  return any == 0;
}

struct Choice {
  MaskUnits units;
  MaskForm form;
  std::vector<int64_t> kept;
  size_t bytes = SIZE_MAX;  // of mask and values
};

}  // namespace

std::vector<uint8_t> encode_sparse_stream(const Tensor& tensor, int bits, size_t dense_bytes) {
  const size_t item = size_of(tensor.dtype());
  const int64_t count = tensor.size();
  const auto* bytes = static_cast<const uint8_t*>(tensor.data());
  std::vector<bool> keep(at(count));
  int64_t zeros = 0;
  for (int64_t i = 0; i < count; ++i) {
    keep[at(i)] = !is_zero(bytes + at(i) * item, item, is_float(tensor.dtype()));
    zeros += !keep[at(i)];
  }
  if (zeros < count / 16 || count == 0) return {};
  Choice best;
  for (const MaskUnits& units : cuts_of(tensor)) {
    Choice c{units, {}, coding::kept_units(keep, units), 0};
    const size_t values = value_bytes(kept_elements(c.kept, units), item, bits);
    const auto bytes_with = [&](MaskForm form) {
      c.form = form;
      c.bytes = at((coding::mask_bits(c.kept, units.count(), form) + 7) / 8) + values;
    };
    bytes_with(coding::smallest_mask(c.kept, units.count()));
    if (static_cast<uint64_t>(count) > kSparseElementsPerByte * c.bytes)
      bytes_with({coding::MaskMethod::bitmap, 0});
    if (c.bytes < best.bytes) best = std::move(c);
  }
  const MaskUnits& u = best.units;
  const auto mask = coding::encode_mask(best.kept, u.count(), best.form);
  ByteWriter out;
  out.u8(static_cast<uint8_t>(best.form.method));
  out.u8(best.form.parameter);
  out.varint(best.kept.size());
  out.varint(mask.size());
  out.varint(static_cast<uint64_t>(u.width));
  if (u.width > 1) {
    out.varint(static_cast<uint64_t>(u.axis));
    out.varint(static_cast<uint64_t>(u.inner));
  }
  out.raw(mask.data(), mask.size());
  std::vector<uint8_t> values;
  for_each_kept(best.kept, u, [&](int64_t i) {
    values.insert(values.end(), bytes + at(i) * item, bytes + at(i + 1) * item);
  });
  if (bits < 8 && item == 1) {
    std::vector<uint8_t> packed(coding::packed_size(values.size(), bits));
    coding::pack_bits(values.data(), values.size(), bits, packed.data());
    values = std::move(packed);
  }
  out.raw(values.data(), values.size());
  const bool pays = out.size() <= dense_bytes - dense_bytes / 16 &&
                    static_cast<uint64_t>(count) <= kSparseElementsPerByte * out.size();
  return pays ? std::move(out.bytes()) : std::vector<uint8_t>{};
}

SparseStreamSizes decode_sparse_stream(const uint8_t* data, size_t size, int bits, bool is_signed,
                                       Tensor& tensor) {
  ByteReader in(data, size, "sparse stream");
  const auto method = static_cast<coding::MaskMethod>(in.u8());
  const MaskForm form{method, in.u8()};
  const auto elements = static_cast<uint64_t>(tensor.size());
  const auto count = static_cast<int64_t>(in.varint_below(elements + 1, "kept"));
  const uint64_t mask_bytes = in.varint_below(size + 1, "mask");
  MaskUnits u{1, tensor.size(), 1, 1};
  u.width = static_cast<int64_t>(in.varint_below(17, "width"));
  if (u.width == 0) in.fail("a block must have a width");
  if (u.width > 1) {
    u.axis = static_cast<int64_t>(in.varint_below(elements + 1, "axis"));
    u.inner = static_cast<int64_t>(in.varint_below(elements + 1, "inner"));
    if (u.axis == 0 || u.inner == 0 || elements % static_cast<uint64_t>(u.axis) != 0 ||
        elements / static_cast<uint64_t>(u.axis) % static_cast<uint64_t>(u.inner) != 0)
      in.fail("blocks must divide the tensor");
    u.outer = tensor.size() / u.axis / u.inner;
  }
  const size_t head = size - in.left();
  if (mask_bytes > in.left()) in.fail("a mask is longer than its stream");
  // Each kept unit has an element, so this bounds the memory of the list.
  const size_t item = size_of(tensor.dtype());
  if (value_bytes(count, item, bits) > in.left() - mask_bytes)
    in.fail("the values of a mask must fill their stream");
  const auto kept = coding::decode_mask(data + head, mask_bytes, count, u.count(), form);
  const int64_t stored = kept_elements(kept, u);
  const size_t bytes = value_bytes(stored, item, bits);
  if (in.left() - mask_bytes != bytes) in.fail("the values of a mask must fill their stream");
  const uint8_t* values = data + head + mask_bytes;
  std::vector<uint8_t> codes;
  if (bits < 8 && item == 1) {
    codes.resize(at(stored));
    coding::unpack_bits(values, codes.size(), bits, is_signed, codes.data());
    values = codes.data();
  }
  auto* to = static_cast<uint8_t*>(tensor.data());
  for_each_kept(kept, u, [&](int64_t i) {
    std::memcpy(to + at(i) * item, values, item);
    values += item;
  });
  return {bytes, mask_bytes, head};
}

}  // namespace tersor::artifact
