// Canonical Huffman codes of at most 11 bits over bytes.
//
// A block, bits from the least significant one of a byte on:
//   lowest symbol: 8   highest symbol: 8            equal: the block is that symbol, nothing
//   follows k: 2   four streams: 1   lengths of all symbols between them, Exp-Golomb of order k:
//     0 absent, 1 + zigzag(length - the last length before)    (at first 4)
//   bytes of the first three streams: Exp-Golomb of order 10   with four streams
//   zeros up to a whole byte, then the streams: codes, most significant bit first
//
// Codes are canonical: shorter before longer, symbols ascending within a length (Huffman 1952;
// lengths by package-merge, Larmore & Hirschberg 1990). With four streams, each has a quarter of
// the symbols, rounded up; the last one has the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::coding {

std::vector<uint8_t> huffman_encode(const uint8_t* symbols, size_t count);
// ArtifactError unless the bytes are exactly a block of `count` symbols.
void huffman_decode(const uint8_t* data, size_t size, uint8_t* symbols, size_t count);

}  // namespace tersor::coding
