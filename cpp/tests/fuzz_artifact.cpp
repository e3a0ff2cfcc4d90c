// libFuzzer target of everything that reads untrusted bytes: `make fuzz`.
//
// What begins like a .tersor file is read as one, once as it is and once with its checksums put
// right, which a fuzzer would not guess: whole, with and without checksums, and in parts. Anything
// else is a stream: row, taps, count (12 bits) and kind (4 bits: 1, 2 floats of 2 and 4 bytes,
// 3 a mask, otherwise symbols), stream.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tersor/artifact/artifact.h"
#include "tersor/base/crc32c.h"
#include "tersor/base/error.h"
#include "tersor/coding/float_planes.h"
#include "tersor/coding/mask.h"
#include "tersor/coding/symbols.h"

namespace {

constexpr size_t kHeader = 64, kEntry = 24, kSections = 5;
constexpr size_t kLargest = 1 << 16;  // larger inputs find nothing new and are slow

uint64_t get(const std::vector<uint8_t>& b, size_t at, size_t bytes) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes; ++i) v |= static_cast<uint64_t>(b[at + i]) << (8 * i);
  return v;
}

void put_crc(std::vector<uint8_t>& b, size_t at, size_t from, size_t size) {
  const uint32_t crc = tersor::crc32c(b.data() + from, size);
  for (size_t i = 0; i < 4; ++i) b[at + i] = static_cast<uint8_t>(crc >> (8 * i));
}

bool varint(const std::vector<uint8_t>& b, size_t& at, size_t end, uint64_t& v) {
  v = 0;
  for (int shift = 0; shift < 63 && at < end; shift += 7) {
    v |= static_cast<uint64_t>(b[at] & 0x7F) << shift;
    if (b[at++] < 0x80) return true;
  }
  return false;
}

// The checksums of streams, as far as the table can be read.
void repair_streams(std::vector<uint8_t>& b, size_t table, size_t table_size, size_t data,
                    size_t data_size) {
  size_t at = table, offset = 0;
  const size_t end = table + table_size;
  uint64_t count = 0, coding = 0, length = 0;
  if (!varint(b, at, end, count)) return;
  for (uint64_t i = 0; i < count; ++i) {
    if (!varint(b, at, end, coding) || !varint(b, at, end, length) || end - at < 4) return;
    const size_t alignment = length >= 4096 ? 64 : 4;
    offset = (offset + alignment - 1) / alignment * alignment;
    if (offset > data_size || length > data_size - offset) return;
    put_crc(b, at, data + offset, length);
    at += 4;
    offset += length;
  }
}

void repair(std::vector<uint8_t>& b) {
  if (b.size() < kHeader + kSections * kEntry) return;
  size_t offsets[kSections], sizes[kSections];
  for (size_t i = 0; i < kSections; ++i) {
    const size_t entry = kHeader + i * kEntry;
    offsets[i] = get(b, entry + 4, 8);
    sizes[i] = get(b, entry + 12, 8);
    if (offsets[i] > b.size() || sizes[i] > b.size() - offsets[i]) offsets[i] = sizes[i] = 0;
  }
  repair_streams(b, offsets[1], sizes[1], offsets[4], sizes[4]);
  for (size_t i = 0; i < kSections; ++i)
    put_crc(b, kHeader + i * kEntry + 20, offsets[i], sizes[i]);
  for (size_t i = 0; i < 8; ++i) b[16 + i] = static_cast<uint8_t>(b.size() >> (8 * i));
  put_crc(b, 32, kHeader, kSections * kEntry);
  put_crc(b, 60, 0, 60);
}

// Of the first and the last constant.
void read_parts(const std::vector<uint8_t>& b, const tersor::graph::Graph& graph) {
  std::string first, last;
  for (const auto& edge : graph.edges()) {
    if (!edge.is_constant()) continue;
    if (first.empty()) first = edge.name;
    last = edge.name;
  }
  if (first.empty()) return;
  tersor::artifact::decode_tensors(b.data(), b.size(), {first});
  tersor::artifact::decode_tensors(b.data(), b.size(), {last, first}, false);
}

void read_file(const std::vector<uint8_t>& b) {
  try {
    tersor::artifact::decode_tensors(b.data(), b.size(), {});  // skips every tensor
  } catch (const tersor::ArtifactError&) {
  }
  try {
    read_parts(b, tersor::artifact::decode(b.data(), b.size(), false).graph);
    tersor::artifact::inspect(b.data(), b.size());
  } catch (const tersor::ArtifactError&) {
  }
}

constexpr size_t kStreamHeader = 4;

void read_stream(const uint8_t* data, size_t size) {
  if (size < kStreamHeader) return;
  const tersor::coding::Geometry geometry{data[0], data[1]};
  const size_t count = data[2] | (data[3] & 15u) << 8;
  const int kind = data[3] >> 4;
  data += kStreamHeader;
  size -= kStreamHeader;
  std::vector<uint32_t> out(count);
  try {
    if (kind == 1 || kind == 2) {
      tersor::coding::decode_floats(data, size, kind == 1 ? 2 : 4, geometry, out.data(), count);
    } else if (kind == 3) {
      // The geometry's bytes are the form; a byte of the stream says how many units are kept.
      if (size == 0) return;
      const auto kept = static_cast<int64_t>(std::min<size_t>(data[0], count));
      tersor::coding::decode_mask(data + 1, size - 1, kept, static_cast<int64_t>(count),
                                  {static_cast<tersor::coding::MaskMethod>(geometry.row),
                                   static_cast<uint8_t>(geometry.taps)});
    } else {
      tersor::coding::decode_symbols(data, size, geometry, reinterpret_cast<uint8_t*>(out.data()),
                                     count);
    }
  } catch (const tersor::ArtifactError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > kLargest) return 0;
  if (size < 4 || std::memcmp(data, "\x89TSR", 4) != 0) {
    read_stream(data, size);
    return 0;
  }
  std::vector<uint8_t> bytes(data, data + size);
  read_file(bytes);
  repair(bytes);
  read_file(bytes);
  return 0;
}
