#include <stddef.h>
#include <stdint.h>

#include "tersor/coding/kernels.h"

namespace tersor::coding {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight codes are read as one word");

static constexpr uint64_t kOnes = 0x0101010101010101;

// Eight codes are one 64-bit word: neighbours move together in pairs, fours, eights, and the packed
// word has `B` bytes.
template <int B>
static inline uint64_t packed_word(uint64_t w) {
  if (B == 8) return w;
  w &= kOnes * ((1u << B) - 1);
  w = (w & 0x00ff00ff00ff00ff) | (w & 0xff00ff00ff00ff00) >> (8 - B);
  w = (w & 0x0000ffff0000ffff) | (w & 0xffff0000ffff0000) >> (16 - 2 * B);
  return (w & 0x00000000ffffffff) | (w & 0xffffffff00000000) >> (32 - 4 * B);
}

template <int B>
static inline uint64_t unpacked_word(uint64_t w, bool is_signed) {
  if (B == 8) return w;
  constexpr uint64_t kMask1 = (1u << B) - 1, kMask2 = (uint64_t{1} << (2 * B)) - 1;
  constexpr uint64_t kMask4 = B == 8 ? ~uint64_t{0} : (uint64_t{1} << (4 * B)) - 1;
  // What lies above the word's own bytes is cut off here.
  w = (w & kMask4) | (w & kMask4 << (4 * B)) << (32 - 4 * B);
  const uint64_t two = kMask2 | kMask2 << 32;
  w = (w & two) | (w & two << (2 * B)) << (16 - 2 * B);
  const uint64_t one = kMask1 * 0x0001000100010001;
  w = (w & one) | (w & one << B) << (8 - B);
  if (!is_signed) return w;
  // A set sign bit, as 1 in its byte, times the bits above it: no carry leaves a byte.
  return w | ((w >> (B - 1)) & kOnes) * (0xffu & ~((1u << B) - 1));
}

template <int B>
static inline void pack(const uint8_t* __restrict codes, size_t count, uint8_t* __restrict packed) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8, packed += B) {
    uint64_t w;
    __builtin_memcpy(&w, codes + i, 8);
    w = packed_word<B>(w);
    __builtin_memcpy(packed, &w, B);
  }
  if (i == count) return;
  uint64_t w = 0;
  __builtin_memcpy(&w, codes + i, count - i);
  w = packed_word<B>(w);
  __builtin_memcpy(packed, &w, ((count - i) * B + 7) / 8);
}

template <int B>
static inline void unpack(const uint8_t* __restrict packed, size_t count, bool is_signed,
                          uint8_t* __restrict codes) {
  // Whole words are read while there are eight bytes left: gathering three in registers is ten
  // times slower.
  size_t i = 0, left = (count * B + 7) / 8;
  for (; left >= 8 && i + 8 <= count; i += 8, packed += B, left -= B) {
    uint64_t w;
    __builtin_memcpy(&w, packed, 8);
    w = unpacked_word<B>(w, is_signed);
    __builtin_memcpy(codes + i, &w, 8);
  }
  for (; i + 8 <= count; i += 8, packed += B) {
    uint64_t w = 0;
    __builtin_memcpy(&w, packed, B);
    w = unpacked_word<B>(w, is_signed);
    __builtin_memcpy(codes + i, &w, 8);
  }
  if (i == count) return;
  uint64_t w = 0;
  __builtin_memcpy(&w, packed, ((count - i) * B + 7) / 8);
  w = unpacked_word<B>(w, is_signed);
  __builtin_memcpy(codes + i, &w, count - i);
}

// Nibbles: a loop of bytes, which vectorises.
static inline void pack_nibbles(const uint8_t* __restrict codes, size_t count,
                                uint8_t* __restrict packed) {
  const size_t pairs = count / 2;
  for (size_t i = 0; i < pairs; ++i) {
    packed[i] = static_cast<uint8_t>((codes[2 * i] & 15) | codes[2 * i + 1] << 4);
  }
  if (count % 2) packed[pairs] = codes[count - 1] & 15;
}

static inline void unpack_nibbles(const uint8_t* __restrict packed, size_t count, bool is_signed,
                                  uint8_t* __restrict codes) {
  const uint8_t sign = is_signed ? 8 : 0;
  const size_t pairs = count / 2;
  for (size_t i = 0; i < pairs; ++i) {
    codes[2 * i] = static_cast<uint8_t>(((packed[i] & 15) ^ sign) - sign);
    codes[2 * i + 1] = static_cast<uint8_t>(((packed[i] >> 4) ^ sign) - sign);
  }
  if (count % 2) codes[count - 1] = static_cast<uint8_t>(((packed[pairs] & 15) ^ sign) - sign);
}

void TERSOR_SIMD_NAME(pack_bits)(const uint8_t* codes, size_t count, int bits,
                                 uint8_t* packed) noexcept {
  switch (bits) {
    case 1:
      return pack<1>(codes, count, packed);
    case 2:
      return pack<2>(codes, count, packed);
    case 3:
      return pack<3>(codes, count, packed);
    case 4:
      return pack_nibbles(codes, count, packed);
    case 5:
      return pack<5>(codes, count, packed);
    case 6:
      return pack<6>(codes, count, packed);
    case 7:
      return pack<7>(codes, count, packed);
    default:
      __builtin_memcpy(packed, codes, count);
  }
}

void TERSOR_SIMD_NAME(unpack_bits)(const uint8_t* packed, size_t count, int bits, bool is_signed,
                                   uint8_t* codes) noexcept {
  switch (bits) {
    case 1:
      return unpack<1>(packed, count, is_signed, codes);
    case 2:
      return unpack<2>(packed, count, is_signed, codes);
    case 3:
      return unpack<3>(packed, count, is_signed, codes);
    case 4:
      return unpack_nibbles(packed, count, is_signed, codes);
    case 5:
      return unpack<5>(packed, count, is_signed, codes);
    case 6:
      return unpack<6>(packed, count, is_signed, codes);
    case 7:
      return unpack<7>(packed, count, is_signed, codes);
    default:
      __builtin_memcpy(codes, packed, count);
  }
}

}  // namespace tersor::coding
