// Fixed-width packing of small codes: `bits` per code, least significant bit first, no gaps.
//
//   bit (i * bits + b) of the stream = bit b of code i;   bytes = ceil(count * bits / 8), unused
//   bits 0
//
// Signed codes are stored in two's complement and extended on the way back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/base/export.h"

namespace tersor::coding {

inline size_t packed_size(size_t count, int bits) {
  return count / 8 * static_cast<size_t>(bits) + (count % 8 * static_cast<size_t>(bits) + 7) / 8;
}

using pack_bits_sig = void(const uint8_t* codes, size_t count, int bits, uint8_t* packed) noexcept;
using unpack_bits_sig = void(const uint8_t* packed, size_t count, int bits, bool is_signed,
                             uint8_t* codes) noexcept;

// bits in [1, 8]; codes must fit, what lies above is cut. `packed` has packed_size(count, bits)
// bytes.
TERSOR_API void pack_bits(const uint8_t* codes, size_t count, int bits, uint8_t* packed);
TERSOR_API void unpack_bits(const uint8_t* packed, size_t count, int bits, bool is_signed,
                            uint8_t* codes);

}  // namespace tersor::coding
