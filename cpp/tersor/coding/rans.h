// Range asymmetric numeral systems (Duda 2013) over bytes with static frequencies, 1 to 32 states
// interleaved.
//
// A block, bits from the least significant one of a byte on:
//   lowest symbol: 8   highest symbol: 8            equal: the block is that symbol, nothing
//   follows precision p: 4 (8..12; 0..4: p - 8)   log2 of the states: 3 (0..5)
//   p: 8..12: differences: 1   k: 4   frequencies of all symbols but the highest, Exp-Golomb of
//     order k: the frequency, or with `differences` zigzag(frequency - the one before)    (at first
//     0); the highest has what is left to 2^p
//   p: 0..4: the frequencies as smooth_frequencies.h has them
//   zeros up to a whole byte, the states: u32 each, then words of u16, little-endian
//
// Symbol i belongs to state i mod states, x in [2^16, 2^32): slot = x mod 2^p lies in [start, start
// + frequency) of its symbol, x <- frequency * (x >> p) + slot - start, and where x < 2^16, x <- x
// << 16 | the next word. At the end all states are 2^16 and all words are used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::coding {

inline constexpr uint32_t kRansLowest = 1u << 16;

// Decodes `count` symbols. table[slot] = symbol << 24 | frequency << 12 | (slot - start). Returns
// the words used, or SIZE_MAX where they end early. `states` is 1 to 32, a power of two; x is
// updated.
using rans_decode_sig = size_t(const uint8_t* words, size_t word_count, const uint32_t* table,
                               int precision, uint32_t* x, size_t states, uint8_t* symbols,
                               size_t count) noexcept;

std::vector<uint8_t> rans_encode(const uint8_t* symbols, size_t count);
// ArtifactError unless the bytes are exactly a block of `count` symbols.
void rans_decode(const uint8_t* data, size_t size, uint8_t* symbols, size_t count);

}  // namespace tersor::coding
