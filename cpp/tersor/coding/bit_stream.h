// Bits, least significant first within a byte: writing, and reading that never passes the end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/error.h"

namespace tersor::coding {

class BitWriter {
 public:
  // The low `bits` (at most 32) of value.
  void put(uint64_t value, int bits) {
    word_ |= (value & ((uint64_t{1} << bits) - 1)) << used_;
    used_ += bits;
    for (; used_ >= 8; used_ -= 8, word_ >>= 8) bytes_.push_back(static_cast<uint8_t>(word_));
  }
  void put_ones(uint64_t count) {
    for (; count >= 16; count -= 16) put(0xFFFF, 16);
    put((uint64_t{1} << count) - 1, static_cast<int>(count));
  }
  // Exponential Golomb code of order k: short for small values, without an upper limit.
  void put_exp_golomb(uint32_t value, int k) {
    const uint64_t shifted = (static_cast<uint64_t>(value) >> k) + 1;
    const int width = std::bit_width(shifted);
    put_ones(static_cast<uint64_t>(width - 1));
    put(0, 1);
    put(shifted, width - 1);
    put(value, k);
  }
  size_t bits() const { return 8 * bytes_.size() + static_cast<size_t>(used_); }
  // Fills the last byte with zeros.
  std::vector<uint8_t> finish() {
    if (used_) put(0, 8 - used_);
    return std::move(bytes_);
  }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t word_ = 0;
  int used_ = 0;
};

class BitReader {
 public:
  BitReader(const uint8_t* bytes, size_t size) : bytes_(bytes), bits_(8 * size) {}
  // At most 32 bits.
  uint64_t get(int bits) {
    if (static_cast<size_t>(bits) > bits_ - at_)
      throw ArtifactError("coding: a stream of bits ends early");
    uint64_t word = 0;
    const size_t first = at_ / 8, last = (at_ + static_cast<size_t>(bits) + 7) / 8;
    for (size_t i = first; i < last; ++i)
      word |= static_cast<uint64_t>(bytes_[i]) << (8 * (i - first));
    word >>= at_ % 8;
    at_ += static_cast<size_t>(bits);
    return word & ((uint64_t{1} << bits) - 1);
  }
  bool bit() {
    if (at_ == bits_) throw ArtifactError("coding: a stream of bits ends early");
    const bool value = bytes_[at_ / 8] >> (at_ % 8) & 1;
    ++at_;
    return value;
  }
  uint32_t get_exp_golomb(int k) {
    int width = 0;
    while (bit()) {
      if (++width > 31) throw ArtifactError("coding: a number in a stream of bits is too large");
    }
    const uint64_t high = ((uint64_t{1} << width) | get(width)) - 1;
    const uint64_t value = high << k | get(k);
    if (value >> 32) throw ArtifactError("coding: a number in a stream of bits is too large");
    return static_cast<uint32_t>(value);
  }
  // Goes on to the next whole byte; what is skipped must be 0. Returns its position.
  size_t align() {
    while (at_ % 8) {
      if (bit()) throw ArtifactError("coding: unused bits must be 0");
    }
    return at_ / 8;
  }
  // Nothing but the unused bits of the last byte may be left.
  void finish() {
    if (bits_ - at_ >= 8) throw ArtifactError("coding: a stream of bits ends late");
    align();
  }

 private:
  const uint8_t* bytes_;
  size_t bits_, at_ = 0;
};

}  // namespace tersor::coding
