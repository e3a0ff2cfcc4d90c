#include <immintrin.h>

#include "tersor/coding/kernels.h"

namespace tersor::coding {

// kSpread[m]: lane i takes the word number of the set bits of m below i. Bytes, to stay in 2 KiB.
struct SpreadTable {
  uint64_t rows[256];
};
static constexpr SpreadTable make_spread() {
  SpreadTable t{};
  for (uint32_t m = 0; m < 256; ++m) {
    uint64_t next = 0;
    for (uint32_t i = 0; i < 8; ++i) {
      t.rows[m] |= next << (8 * i);
      next += m >> i & 1;
    }
  }
  return t;
}
alignas(64) static constexpr SpreadTable kSpread = make_spread();

// One step of the states of every vector: a gather, a multiplication, and words for the lanes that
// fell below 2^16. Stage by stage, because a gather is 39 operations: one vector after the other,
// the next one's chain would begin beyond what a core looks ahead.
template <size_t Vectors>
static inline void step(__m256i* x, const uint32_t* table, __m256i mask, __m128i precision,
                        const uint8_t*& words, __m256i* symbols) {
  const __m256i low12 = _mm256_set1_epi32(0xFFF);
  __m256i e[Vectors], low[Vectors];
  unsigned m[Vectors];
  for (size_t j = 0; j < Vectors; ++j) {
    e[j] = _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), _mm256_and_si256(x[j], mask),
                                  4);
  }
  for (size_t j = 0; j < Vectors; ++j) {
    const __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(e[j], 12), low12);
    x[j] = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srl_epi32(x[j], precision)),
                            _mm256_and_si256(e[j], low12));
    symbols[j] = _mm256_srli_epi32(e[j], 24);
  }
  for (size_t j = 0; j < Vectors; ++j) {
    low[j] = _mm256_cmpeq_epi32(_mm256_srli_epi32(x[j], 16), _mm256_setzero_si256());
    m[j] = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low[j])));
  }
  for (size_t j = 0; j < Vectors; ++j) {
    const __m256i next =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
    const __m256i lanes = _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kSpread.rows[m[j]])));
    const __m256i refilled =
        _mm256_or_si256(_mm256_slli_epi32(x[j], 16), _mm256_permutevar8x32_epi32(next, lanes));
    x[j] = _mm256_blendv_epi8(x[j], refilled, low[j]);
    words += 2 * static_cast<unsigned>(__builtin_popcount(m[j]));
  }
}

static inline void store8(__m256i symbols, uint8_t* to) {
  const __m256i words = _mm256_packus_epi32(symbols, symbols);
  const __m128i both =
      _mm_unpacklo_epi64(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(both, both));
}

template <size_t Vectors>
static inline size_t decode(const uint8_t* words, size_t word_count, const uint32_t* table,
                            int precision, uint32_t* x, uint8_t* symbols, size_t count) {
  constexpr size_t kStates = 8 * Vectors;
  __m256i v[Vectors];
  for (size_t j = 0; j < Vectors; ++j)
    v[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 8 * j));
  const __m256i mask = _mm256_set1_epi32((1 << precision) - 1);
  const __m128i shift = _mm_cvtsi32_si128(precision);
  const uint8_t* at = words;
  const uint8_t* const end = words + 2 * word_count;
  size_t i = 0;
  // A round uses at most kStates words and reads 8 from where its last step begins.
  for (; i + kStates <= count && end - at >= static_cast<ptrdiff_t>(2 * kStates + 16);
       i += kStates) {
    __m256i s[Vectors];
    step<Vectors>(v, table, mask, shift, at, s);
    if (Vectors == 4) {
      const __m256i a = _mm256_packus_epi32(s[0], s[1 % Vectors]);
      const __m256i b = _mm256_packus_epi32(s[2 % Vectors], s[3 % Vectors]);
      const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(symbols + i),
                          _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
    } else {
      for (size_t j = 0; j < Vectors; ++j) store8(s[j], symbols + i + 8 * j);
    }
  }
  for (size_t j = 0; j < Vectors; ++j)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(x + 8 * j), v[j]);
  const auto used = static_cast<size_t>(at - words) / 2;
  const size_t rest =
      rans_decode_ref(at, word_count - used, table, precision, x, kStates, symbols + i, count - i);
  return rest == SIZE_MAX ? rest : used + rest;
}

// Fewer states stay in registers; what a word is for is chosen without a branch, which would be
// guessed wrongly every few symbols.
template <size_t States>
static inline size_t decode_few(const uint8_t* words, size_t word_count, const uint32_t* table,
                                int precision, uint32_t* x, uint8_t* symbols, size_t count) {
  uint32_t v[States];
  for (size_t j = 0; j < States; ++j) v[j] = x[j];
  const uint32_t mask = (1u << precision) - 1;
  const uint8_t* at = words;
  const uint8_t* const end = words + 2 * word_count;
  size_t i = 0;
  for (; i + States <= count && end - at >= static_cast<ptrdiff_t>(2 * States + 2); i += States) {
#pragma GCC unroll 4
    for (size_t j = 0; j < States; ++j) {
      const uint32_t e = table[v[j] & mask];
      symbols[i + j] = static_cast<uint8_t>(e >> 24);
      const uint32_t next = (e >> 12 & 0xFFF) * (v[j] >> precision) + (e & 0xFFF);
      uint16_t word;
      __builtin_memcpy(&word, at, 2);
      const uint32_t low = 0 - static_cast<uint32_t>(next < kRansLowest);
      v[j] = next << (low & 16) | (low & word);
      at += low & 2;
    }
  }
  for (size_t j = 0; j < States; ++j) x[j] = v[j];
  const auto used = static_cast<size_t>(at - words) / 2;
  const size_t rest =
      rans_decode_ref(at, word_count - used, table, precision, x, States, symbols + i, count - i);
  return rest == SIZE_MAX ? rest : used + rest;
}

size_t rans_decode_avx2(const uint8_t* words, size_t word_count, const uint32_t* table,
                        int precision, uint32_t* x, size_t states, uint8_t* symbols,
                        size_t count) noexcept {
  switch (states) {
    case 32:
      return decode<4>(words, word_count, table, precision, x, symbols, count);
    case 16:
      return decode<2>(words, word_count, table, precision, x, symbols, count);
    case 8:
      return decode<1>(words, word_count, table, precision, x, symbols, count);
    case 4:
      return decode_few<4>(words, word_count, table, precision, x, symbols, count);
    case 2:
      return decode_few<2>(words, word_count, table, precision, x, symbols, count);
    case 1:
      return decode_few<1>(words, word_count, table, precision, x, symbols, count);
    default:
      return rans_decode_ref(words, word_count, table, precision, x, states, symbols, count);
  }
}

}  // namespace tersor::coding
