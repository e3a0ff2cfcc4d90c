// Writing and reading the small fixed vocabulary of the artifact: little-endian integers, varints,
// strings.
//
// The reader throws ArtifactError before it would pass the end, and never allocates more than the
// bytes that are left could describe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::artifact {

class ByteWriter {
 public:
  void u8(uint8_t v) { bytes_.push_back(v); }
  void u32(uint32_t v) { little_endian(v, 4); }
  void u64(uint64_t v) { little_endian(v, 8); }
  void f32(float v);
  void f64(double v);
  void varint(uint64_t v);        // LEB128, shortest form
  void signed_varint(int64_t v);  // zigzag
  void text(std::string_view v);  // length, then bytes
  void raw(const void* data, size_t size);
  void align(size_t alignment);  // zero bytes
  size_t size() const { return bytes_.size(); }
  std::vector<uint8_t>& bytes() { return bytes_; }

 private:
  void little_endian(uint64_t v, int size) {
    for (int i = 0; i < size; ++i) bytes_.push_back(static_cast<uint8_t>(v >> (8 * i)));
  }
  std::vector<uint8_t> bytes_;
};

class ByteReader {
 public:
  // `what` names the part of the file in errors.
  ByteReader(const uint8_t* data, size_t size, const char* what)
      : data_(data), size_(size), what_(what) {}

  uint8_t u8();
  uint32_t u32() { return static_cast<uint32_t>(little_endian(4)); }
  uint64_t u64() { return little_endian(8); }
  float f32();
  double f64();
  uint64_t varint();
  int64_t signed_varint();
  std::string text();
  // A count of things that take at least `least_bytes` each: refused when they cannot fit what is
  // left.
  size_t count(size_t least_bytes = 1);
  size_t varint_below(uint64_t limit, const char* name);
  size_t left() const { return size_ - at_; }
  void expect_end() const;
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  uint64_t little_endian(int size);
  void need(size_t bytes) const;

  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
  const char* what_;
};

}  // namespace tersor::artifact
