#include "tersor/coding/kernels.h"

namespace tersor::coding {

size_t rans_decode_ref(const uint8_t* words, size_t word_count, const uint32_t* table,
                       int precision, uint32_t* x, size_t states, uint8_t* symbols,
                       size_t count) noexcept {
  const uint32_t mask = (1u << precision) - 1;
  size_t used = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t& state = x[i & (states - 1)];
    const uint32_t e = table[state & mask];
    symbols[i] = static_cast<uint8_t>(e >> 24);
    state = (e >> 12 & 0xFFF) * (state >> precision) + (e & 0xFFF);
    if (state >= kRansLowest) continue;
    if (used == word_count) return SIZE_MAX;
    state = state << 16 | static_cast<uint32_t>(words[2 * used] | words[2 * used + 1] << 8);
    ++used;
  }
  return used;
}

}  // namespace tersor::coding
