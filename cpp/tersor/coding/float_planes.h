// Floats without loss: planes of bytes, each coded by itself.
//
// Mantissas of weights are noise, exponents are not: a trained layer uses a few of 256. Elements of
// 2 or 4 bytes are rotated left by one bit, which makes the exponent of float32 and bfloat16 the
// highest byte (of float16, 5 bits of it), and cut into bytes; plane 0 holds the lowest ones.
//
//   per plane: bytes: varint, all but the last     (the last has the rest)
//   per plane: 255, the bytes as they are      where coding does not pay
//              or a stream of symbols.h
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/coding/symbols.h"

namespace tersor::coding {

// item: 2 or 4 bytes. Any bits come back, NaN and -0.0 too.
TERSOR_API std::vector<uint8_t> encode_floats(const void* values, size_t count, size_t item,
                                              const Geometry& geometry, Profile profile);
TERSOR_API void decode_floats(const uint8_t* data, size_t size, size_t item,
                              const Geometry& geometry, void* values, size_t count);

}  // namespace tersor::coding
