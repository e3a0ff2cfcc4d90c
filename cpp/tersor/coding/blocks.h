// One block in the form of one method (symbols.h).
#pragma once

#include <vector>

#include "tersor/coding/symbols.h"

namespace tersor::coding {

std::vector<uint8_t> encode_block(Method method, const uint8_t* symbols, size_t count,
                                  const Geometry& geometry);
void decode_block(Method method, const uint8_t* data, size_t size, const Geometry& geometry,
                  uint8_t* symbols, size_t count);

void put_varint(uint64_t value, std::vector<uint8_t>& out);
// Advances `at`; ArtifactError where the bytes end or the value is larger than `most`.
uint64_t get_varint(const uint8_t* data, size_t size, size_t& at, uint64_t most);

}  // namespace tersor::coding
