// An adaptive coder for weights: distributions lean (tilt.h) by what filters, inputs and neighbours
// show.
//
// Filters differ in scale, inputs too, and the taps of a kernel look like their neighbours. Each
// weight's two parameters are sums of effects, all learnt while coding:
//
//   a, b = row + input + tap + place(input, tap) + kernel + left * neighbour + up * neighbour
//   effect += gain / (visits + prior) * error        (tilt.h; a step of Newton's method that
//   forgets nothing)
//
// Sparse symbols first tell by the same means (a only) whether they are the commonest symbol.
// Symbols of more than 16 values are cut into 16 buckets and `low` bits, whose distribution is the
// bucket's slope.
//
// A block:
//   lowest symbol: u8   highest symbol: u8      equal: the block is that symbol, nothing follows
//   bits: low: 3 (0..4)   sparse: 1   parameters: 1   0: 3
//   commonest symbol: 8, its share - 1 in 1/4096: 12     if sparse
//   precision 12 frequencies of the buckets (rans.h), those of the commonest symbol left out    if
//   more than one parameters: for the flag (if sparse), for a, for b: five effects, each gain: 4,
//   prior: 4; left: 4, up: 4 zeros up to a whole byte, state: u32, words: u16, little-endian
//
// Decoding is that of rans.h with one state and 15 bits of precision.
#pragma once

#include <vector>

#include "tersor/coding/symbols.h"

namespace tersor::coding {

std::vector<uint8_t> adaptive_encode(const uint8_t* symbols, size_t count,
                                     const Geometry& geometry);
// ArtifactError unless the bytes are exactly a block of `count` symbols.
void adaptive_decode(const uint8_t* data, size_t size, const Geometry& geometry, uint8_t* symbols,
                     size_t count);

}  // namespace tersor::coding
