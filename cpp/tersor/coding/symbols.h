// Arrays of bytes in the fewest bytes: one door for every method of this room.
//
//   method: u8, then per block of at most kBlockSymbols symbols
//     bytes: varint   (all blocks but the last, which has the rest)
//     the block, in the form of its method
//
// Blocks are decodable alone and decode in parallel; none but the last is shorter. Byte layouts:
// packed below, the others in their headers. Decoders trust nothing: they write `count` symbols and
// no more, read the bytes given and no more, take time proportional to both, and throw
// ArtifactError on anything that does not end exactly where it must.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::coding {

enum class Method : uint8_t {
  packed = 0,   // lowest symbol: u8, bits: u8 (0..8), then symbol - lowest in so many bits
                // (bit_packing.h)
  huffman = 1,  // huffman.h
  rans = 2,     // rans.h
  rice = 3,     // gaps.h: the commonest symbol by the gaps between the others
  range = 4,    // adaptive.h; its statistics adapt to filters and neighbours
};
inline constexpr int kMethodCount = 5;

enum class Profile { fast, small };

TERSOR_API const char* name_of(Method method);
TERSOR_API Method method_named(const std::string& name);  // ValueError listing the names
TERSOR_API Profile profile_named(const std::string& name);

// How the symbols lie: rows of `row` symbols (the last may be short), a row being the inputs of one
// filter; `taps` neighbouring symbols are one kernel. Only a hint: any value codes any array.
struct Geometry {
  size_t row = 1;
  size_t taps = 1;
};

// A multiple of every block's needs, small enough to stay in L2 with what is decoded from it.
inline constexpr size_t kBlockSymbols = size_t{1} << 20;

TERSOR_API std::vector<uint8_t> encode_symbols(const uint8_t* symbols, size_t count,
                                               const Geometry& geometry, Method method);
// The smallest of the profile's methods.
TERSOR_API std::vector<uint8_t> encode_smallest(const uint8_t* symbols, size_t count,
                                                const Geometry& geometry, Profile profile);
TERSOR_API void decode_symbols(const uint8_t* data, size_t size, const Geometry& geometry,
                               uint8_t* symbols, size_t count);
// Most symbols that so many bytes can stand for: what to allocate at all. Blocks take 2 bytes or
// more.
inline size_t most_symbols(size_t size) {
  return size / 2 >= SIZE_MAX / kBlockSymbols ? SIZE_MAX : (size / 2) * kBlockSymbols;
}

}  // namespace tersor::coding
