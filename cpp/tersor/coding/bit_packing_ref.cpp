#include "tersor/coding/kernels.h"

namespace tersor::coding {

// Eight codes are exactly `bits` bytes, so groups of eight start on byte borders and fit one 64-bit
// word.
void pack_bits_ref(const uint8_t* codes, size_t count, int bits, uint8_t* packed) noexcept {
  const uint64_t mask = (1u << bits) - 1;
  for (size_t i = 0; i < count; i += 8) {
    const size_t n = count - i < 8 ? count - i : 8;
    uint64_t word = 0;
    for (size_t j = 0; j < n; ++j) word |= (codes[i + j] & mask) << (j * static_cast<size_t>(bits));
    const size_t bytes = (n * static_cast<size_t>(bits) + 7) / 8;
    for (size_t b = 0; b < bytes; ++b) *packed++ = static_cast<uint8_t>(word >> (8 * b));
  }
}

void unpack_bits_ref(const uint8_t* packed, size_t count, int bits, bool is_signed,
                     uint8_t* codes) noexcept {
  const uint32_t mask = (1u << bits) - 1;
  const uint32_t sign = is_signed ? 1u << (bits - 1) : 0;
  for (size_t i = 0; i < count; i += 8) {
    const size_t n = count - i < 8 ? count - i : 8;
    const size_t bytes = (n * static_cast<size_t>(bits) + 7) / 8;
    uint64_t word = 0;
    for (size_t b = 0; b < bytes; ++b) word |= static_cast<uint64_t>(*packed++) << (8 * b);
    for (size_t j = 0; j < n; ++j) {
      const uint32_t code = static_cast<uint32_t>(word >> (j * static_cast<size_t>(bits))) & mask;
      codes[i + j] = static_cast<uint8_t>((code ^ sign) - sign);
    }
  }
}

}  // namespace tersor::coding
