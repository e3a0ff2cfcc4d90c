#include "tersor/coding/symbols.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/coding/adaptive.h"
#include "tersor/coding/bit_packing.h"
#include "tersor/coding/blocks.h"
#include "tersor/coding/gaps.h"
#include "tersor/coding/huffman.h"
#include "tersor/coding/rans.h"

namespace tersor::coding {
namespace {

constexpr int kFastMethods = 4;  // packed to rice
constexpr const char* kNames[kMethodCount] = {"packed", "huffman", "rans", "rice", "range"};

std::vector<uint8_t> encode_packed(const uint8_t* symbols, size_t count) {
  const auto [low, high] = std::minmax_element(symbols, symbols + count);
  const int bits = std::bit_width(static_cast<unsigned>(*high - *low));
  std::vector<uint8_t> out = {*low, static_cast<uint8_t>(bits)};
  if (bits == 0) return out;
  std::vector<uint8_t> codes(symbols, symbols + count);
  for (uint8_t& c : codes) c = static_cast<uint8_t>(c - *low);
  out.resize(2 + packed_size(count, bits));
  pack_bits(codes.data(), count, bits, out.data() + 2);
  return out;
}

void decode_packed(const uint8_t* data, size_t size, uint8_t* symbols, size_t count) {
  if (size < 2 || data[1] > 8) throw ArtifactError("coding: packed symbols have no form");
  const int bits = data[1];
  if (size - 2 != packed_size(count, bits))
    throw ArtifactError(message("coding: ", count, " symbols of ", bits, " bits need ",
                                packed_size(count, bits), " bytes, got ", size - 2));
  if (bits == 0) {
    std::memset(symbols, data[0], count);
    return;
  }
  const size_t used = count * static_cast<size_t>(bits) % 8;
  if (used && data[size - 1] >> used) throw ArtifactError("coding: unused bits must be 0");
  unpack_bits(data + 2, count, bits, false, symbols);
  const uint8_t low = data[0];
  for (size_t i = 0; i < count; ++i) symbols[i] = static_cast<uint8_t>(symbols[i] + low);
}

// Whole rows, so that every block begins with a filter; rows longer than a block are cut.
size_t block_symbols(const Geometry& g) {
  const size_t row = std::max<size_t>(g.row, 1);
  return row >= kBlockSymbols ? kBlockSymbols : kBlockSymbols / row * row;
}

}  // namespace

void put_varint(uint64_t v, std::vector<uint8_t>& out) {
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<uint8_t>(v | 0x80));
  out.push_back(static_cast<uint8_t>(v));
}

uint64_t get_varint(const uint8_t* data, size_t size, size_t& at, uint64_t most) {
  uint64_t v = 0;
  for (int shift = 0; shift < 63; shift += 7) {
    if (at == size) throw ArtifactError("coding: a stream ends early");
    const uint8_t byte = data[at++];
    v |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte >= 0x80) continue;
    if (v > most || (byte == 0 && shift > 0)) break;
    return v;
  }
  throw ArtifactError("coding: a number is not well formed");
}

Profile profile_named(const std::string& name) {
  TERSOR_CHECK(name == "fast" || name == "small", "profile must be fast or small, got ", name);
  return name == "fast" ? Profile::fast : Profile::small;
}

const char* name_of(Method method) { return kNames[static_cast<size_t>(method)]; }

Method method_named(const std::string& name) {
  for (int i = 0; i < kMethodCount; ++i) {
    if (name == kNames[i]) return static_cast<Method>(i);
  }
  std::string known;
  for (const char* n : kNames) known += message(known.empty() ? "" : ", ", n);
  throw ValueError(message("encode: method must be fast, small, ", known, ", got ", name));
}

std::vector<uint8_t> encode_block(Method method, const uint8_t* symbols, size_t count,
                                  const Geometry& geometry) {
  switch (method) {
    case Method::packed:
      return encode_packed(symbols, count);
    case Method::huffman:
      return huffman_encode(symbols, count);
    case Method::rans:
      return rans_encode(symbols, count);
    case Method::rice:
      return gaps_encode(symbols, count);
    case Method::range:
      return adaptive_encode(symbols, count, geometry);
  }
  throw ValueError("encode: method is unknown");
}

void decode_block(Method method, const uint8_t* data, size_t size, const Geometry& geometry,
                  uint8_t* symbols, size_t count) {
  switch (method) {
    case Method::packed:
      return decode_packed(data, size, symbols, count);
    case Method::huffman:
      return huffman_decode(data, size, symbols, count);
    case Method::rans:
      return rans_decode(data, size, symbols, count);
    case Method::rice:
      return gaps_decode(data, size, symbols, count);
    case Method::range:
      return adaptive_decode(data, size, geometry, symbols, count);
  }
  throw ArtifactError("coding: a stream has an unknown method");
}

std::vector<uint8_t> encode_symbols(const uint8_t* symbols, size_t count, const Geometry& geometry,
                                    Method method) {
  std::vector<uint8_t> out = {static_cast<uint8_t>(method)};
  if (count == 0) return out;
  const size_t step = block_symbols(geometry), blocks = (count + step - 1) / step;
  std::vector<std::vector<uint8_t>> coded(blocks);
  parallel_tasks(blocks, 0, [&](size_t b, int) {
    coded[b] = encode_block(method, symbols + b * step, std::min(step, count - b * step), geometry);
  });
  for (size_t b = 0; b < blocks; ++b) {
    if (b + 1 < blocks) put_varint(coded[b].size(), out);
    out.insert(out.end(), coded[b].begin(), coded[b].end());
  }
  return out;
}

std::vector<uint8_t> encode_smallest(const uint8_t* symbols, size_t count, const Geometry& geometry,
                                     Profile profile) {
  std::vector<uint8_t> best;
  for (int i = 0; i < (profile == Profile::small ? kMethodCount : kFastMethods); ++i) {
    auto coded = encode_symbols(symbols, count, geometry, static_cast<Method>(i));
    if (best.empty() || coded.size() < best.size()) best = std::move(coded);
  }
  return best;
}

void decode_symbols(const uint8_t* data, size_t size, const Geometry& geometry, uint8_t* symbols,
                    size_t count) {
  if (size == 0 || data[0] >= kMethodCount)
    throw ArtifactError("coding: a stream has an unknown method");
  if (count == 0) {
    if (size != 1) throw ArtifactError("coding: a stream ends late");
    return;
  }
  const size_t step = block_symbols(geometry), blocks = (count + step - 1) / step;
  if (blocks > size) throw ArtifactError(message("coding: ", size, " bytes cannot hold ", count));
  struct Part {
    size_t at, size;
  };
  std::vector<Part> parts(blocks);
  size_t at = 1;
  for (size_t b = 0; b < blocks; ++b) {
    const size_t length = b + 1 < blocks ? get_varint(data, size, at, size) : size - at;
    if (length > size - at) throw ArtifactError("coding: a stream ends early");
    parts[b] = {at, length};
    at += length;
  }
  parallel_tasks(blocks, 0, [&](size_t b, int) {
    decode_block(static_cast<Method>(data[0]), data + parts[b].at, parts[b].size, geometry,
                 symbols + b * step, std::min(step, count - b * step));
  });
}

}  // namespace tersor::coding
