#include "tersor/artifact/byte_stream.h"

#include <cstring>

#include "tersor/base/error.h"

namespace tersor::artifact {
namespace {

// Names end up in messages, tables and other formats: well-formed UTF-8 (Unicode table 3-7), no
// control characters.
bool is_plain_text(std::string_view s) {
  const auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < s.size() && low <= static_cast<unsigned char>(s[i]) &&
           static_cast<unsigned char>(s[i]) <= high;
  };
  for (size_t i = 0; i < s.size();) {
    const auto c = static_cast<unsigned char>(s[i]);
    if (c < 0x80) {
      if (c < 0x20 || c == 0x7f) return false;
      i += 1;
    } else if (0xc2 <= c && c <= 0xdf && continues(i + 1)) {
      i += 2;
    } else if (0xe0 <= c && c <= 0xef &&
               continues(i + 1, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf) &&
               continues(i + 2)) {
      i += 3;
    } else if (0xf0 <= c && c <= 0xf4 &&
               continues(i + 1, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf) &&
               continues(i + 2) && continues(i + 3)) {
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

void ByteWriter::f32(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  u32(bits);
}

void ByteWriter::f64(double v) {
  uint64_t bits;
  std::memcpy(&bits, &v, 8);
  u64(bits);
}

void ByteWriter::varint(uint64_t v) {
  for (; v >= 0x80; v >>= 7) u8(static_cast<uint8_t>(v | 0x80));
  u8(static_cast<uint8_t>(v));
}

void ByteWriter::signed_varint(int64_t v) {
  varint((static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63));
}

void ByteWriter::text(std::string_view v) {
  if (!is_plain_text(v)) {
    throw ValueError(
        "artifact: names must be UTF-8 without control characters, got one that is not");
  }
  varint(v.size());
  raw(v.data(), v.size());
}

void ByteWriter::raw(const void* data, size_t size) {
  const auto* p = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), p, p + size);
}

void ByteWriter::align(size_t alignment) {
  while (bytes_.size() % alignment) bytes_.push_back(0);
}

void ByteReader::fail(const std::string& problem) const {
  throw ArtifactError(
      message("artifact: ", what_, ": ", problem, " (byte ", at_, " of ", size_, ")"));
}

void ByteReader::need(size_t bytes) const {
  if (bytes > left()) fail("the data ends too early");
}

uint8_t ByteReader::u8() {
  need(1);
  return data_[at_++];
}

uint64_t ByteReader::little_endian(int size) {
  need(static_cast<size_t>(size));
  uint64_t v = 0;
  for (int i = 0; i < size; ++i) v |= static_cast<uint64_t>(data_[at_++]) << (8 * i);
  return v;
}

float ByteReader::f32() {
  const uint32_t bits = u32();
  float v;
  std::memcpy(&v, &bits, 4);
  return v;
}

double ByteReader::f64() {
  const uint64_t bits = u64();
  double v;
  std::memcpy(&v, &bits, 8);
  return v;
}

uint64_t ByteReader::varint() {
  uint64_t v = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = u8();
    if (shift == 63 && byte > 1) break;
    v |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) break;  // not the shortest form
      return v;
    }
  }
  fail("a number is not well formed");
}

int64_t ByteReader::signed_varint() {
  const uint64_t v = varint();
  return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
}

std::string ByteReader::text() {
  const size_t size = count();
  need(size);
  std::string v(reinterpret_cast<const char*>(data_ + at_), size);
  if (!is_plain_text(v)) fail("a text is not well-formed UTF-8 or holds control characters");
  at_ += size;
  return v;
}

size_t ByteReader::count(size_t least_bytes) {
  const uint64_t n = varint();
  if (n > left() / least_bytes) fail("a count is larger than the data");
  return static_cast<size_t>(n);
}

size_t ByteReader::varint_below(uint64_t limit, const char* name) {
  const uint64_t v = varint();
  if (v >= limit) fail(message(name, " must be below ", limit, ", got ", v));
  return static_cast<size_t>(v);
}

void ByteReader::expect_end() const {
  if (left()) fail("there are bytes after the end");
}

}  // namespace tersor::artifact
