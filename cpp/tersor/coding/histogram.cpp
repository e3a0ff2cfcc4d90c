#include "tersor/coding/histogram.h"

#include <cmath>

namespace tersor::coding {

Histogram histogram(const uint8_t* symbols, size_t count) {
  // Four tables: a run of one symbol would wait for its own counter.
  std::array<Histogram, 4> part{};
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (size_t j = 0; j < 4; ++j) ++part[j][symbols[i + j]];
  }
  for (; i < count; ++i) ++part[0][symbols[i]];
  for (size_t s = 0; s < 256; ++s) part[0][s] += part[1][s] + part[2][s] + part[3][s];
  return part[0];
}

double entropy(const Histogram& counts) {
  double total = 0, bits = 0;
  for (const uint64_t c : counts) total += static_cast<double>(c);
  for (const uint64_t c : counts) {
    if (c) bits += static_cast<double>(c) * std::log2(total / static_cast<double>(c));
  }
  return total > 0 ? bits / total : 0;
}

}  // namespace tersor::coding
