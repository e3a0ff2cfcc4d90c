#include <immintrin.h>

#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr int kRows = 8;  // of 16 entries, for either sign

// Row k xor row k - 1. vpshufb gives 0 for an index whose highest bit is set, so an index that
// falls by 16 from step to step adds up the differences of rows 0 .. index / 16, which is that row,
// and nothing once it is negative; the subtraction saturates, so it stays negative.
inline void differences(const int8_t* table, __m256i* rows) {
  __m256i before = _mm256_setzero_si256();
  for (int k = 0; k < kRows; ++k) {
    const __m256i row = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * k)));
    rows[k] = _mm256_xor_si256(row, before);
    before = row;
  }
}

}  // namespace

// A table of 256 bytes by sixteen shuffles of 16 bytes: 0.16 ns a code on Zen 3, where a load for
// each code takes 0.40 (200,704 codes). Several vectors at a time were no faster.
void map_codes_avx2(const int8_t* x, int8_t* y, size_t n, const int8_t* table) noexcept {
  size_t i = 0;
  if (n >= 32) {
    __m256i negative[kRows], positive[kRows];
    differences(table, negative);
    differences(table + 128, positive);
    const __m256i sign = _mm256_set1_epi8(-128), step = _mm256_set1_epi8(16);
    for (; i + 32 <= n; i += 32) {
      __m256i above = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
      __m256i below = _mm256_xor_si256(above, sign);
      __m256i result = _mm256_setzero_si256();
      for (int k = 0; k < kRows; ++k) {
        result = _mm256_xor_si256(result, _mm256_shuffle_epi8(positive[k], above));
        result = _mm256_xor_si256(result, _mm256_shuffle_epi8(negative[k], below));
        above = _mm256_subs_epi8(above, step);
        below = _mm256_subs_epi8(below, step);
      }
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), result);
    }
  }
  for (; i < n; ++i) y[i] = table[x[i] + 128];
}

}  // namespace tersor::runtime
