// Sparse symbols: where the commonest symbol is not, and what is there instead.
//
//   commonest symbol: u8   mask method: u8   its parameter: u8   kept: varint   bytes of the mask:
//   varint mask (mask.h), one unit for each symbol the kept symbols, as a block: method: u8
//   (packed, huffman or rans), block
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersor::coding {

std::vector<uint8_t> gaps_encode(const uint8_t* symbols, size_t count);
void gaps_decode(const uint8_t* data, size_t size, uint8_t* symbols, size_t count);

}  // namespace tersor::coding
