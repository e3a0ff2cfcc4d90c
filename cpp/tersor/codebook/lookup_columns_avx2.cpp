#include <immintrin.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"

namespace tersor::codebook {

// The four digits of eight products, those of a product in one lane.
static inline __m256i digits_of(__m256 x, const float* table) {
  const __m256i most = _mm256_set1_epi32((1 << kProductBits) - 1);
  const __m256i v = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_loadu_ps(table)));
  const __m256i s =
      _mm256_add_epi32(_mm256_min_epi32(v, most), _mm256_set1_epi32(1 << kProductBits));
  const __m256i d0 = _mm256_and_si256(s, _mm256_set1_epi32(0x7F));
  const __m256i d1 = _mm256_and_si256(_mm256_slli_epi32(s, 1), _mm256_set1_epi32(0x7F00));
  const __m256i d2 = _mm256_and_si256(_mm256_slli_epi32(s, 2), _mm256_set1_epi32(0x7F0000));
  const __m256i d3 = _mm256_and_si256(_mm256_slli_epi32(s, 3), _mm256_set1_epi32(0x7F000000));
  return _mm256_or_si256(_mm256_or_si256(d0, d1), _mm256_or_si256(d2, d3));
}

void lookup_products_avx2(const float* table, const float* x, int64_t n,
                          uint8_t* products) noexcept {
  const __m256i by_digit = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m256i by_entry = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int64_t i = 0; i < n; ++i, products += kProductBytes) {
    const __m256 v = _mm256_broadcast_ss(x + i);
    const __m256i a = _mm256_shuffle_epi8(digits_of(v, table), by_digit);
    const __m256i b = _mm256_shuffle_epi8(digits_of(v, table + 8), by_digit);
    const __m256i low = _mm256_permutevar8x32_epi32(_mm256_unpacklo_epi32(a, b), by_entry);
    const __m256i high = _mm256_permutevar8x32_epi32(_mm256_unpackhi_epi32(a, b), by_entry);
    _mm256_storeu_si256((__m256i*)products, low);
    _mm256_storeu_si256((__m256i*)(products + 32), high);
  }
}

static inline __m256i look_up(const uint8_t* digits, __m256i codes) {
  const __m256i row = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)digits));
  return _mm256_shuffle_epi8(row, codes);
}

// Adds a tile to eight sums of float32: low and high are digits 0 and 1, 2 and 3 in turns.
static inline void add_to(float* sums, __m256i low, __m256i high, __m256 unit) {
  const __m256i weights = _mm256_set1_epi32(1 | 128 << 16);
  const __m256 l = _mm256_cvtepi32_ps(_mm256_madd_epi16(low, weights));
  const __m256 h = _mm256_cvtepi32_ps(_mm256_madd_epi16(high, weights));
  // h * 2^14 is exact: one rounding, with or without contraction.
  const __m256 whole = _mm256_add_ps(_mm256_mul_ps(h, _mm256_set1_ps(16384)), l);
  _mm256_storeu_ps(sums, _mm256_add_ps(_mm256_loadu_ps(sums), _mm256_mul_ps(whole, unit)));
}

// One tile of one block. Sums of 16 bits wrap around, but those of odd bytes are exact, so those of
// even bytes are what is left.
static inline void add_tile(const uint8_t* codes, const uint8_t* products, int64_t n, __m256 unit,
                            float* sums) {
  const __m256i nibble = _mm256_set1_epi8(15);
  __m256i all[4], odd[4];
  for (int d = 0; d < 4; ++d) all[d] = odd[d] = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += 2, codes += kColumnOutputs, products += 2 * kProductBytes) {
    const __m256i both = _mm256_load_si256((const __m256i*)codes);
    _mm_prefetch((const char*)codes + 2048, _MM_HINT_T0);
    const __m256i first = _mm256_and_si256(both, nibble);
    const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
#pragma GCC unroll 4
    for (int d = 0; d < 4; ++d) {
      const __m256i two = _mm256_add_epi8(look_up(products + 16 * d, first),
                                          look_up(products + kProductBytes + 16 * d, second));
      all[d] = _mm256_add_epi16(all[d], two);
      odd[d] = _mm256_add_epi16(odd[d], _mm256_srli_epi16(two, 8));
    }
  }
  __m256i even[4];
  for (int d = 0; d < 4; ++d) even[d] = _mm256_sub_epi16(all[d], _mm256_slli_epi16(odd[d], 8));
  const __m256i zero = _mm256_set1_epi16((int16_t)(64 * n));
  even[3] = _mm256_sub_epi16(even[3], zero);
  odd[3] = _mm256_sub_epi16(odd[3], zero);
  add_to(sums, _mm256_unpacklo_epi16(even[0], even[1]), _mm256_unpacklo_epi16(even[2], even[3]),
         unit);
  add_to(sums + 8, _mm256_unpackhi_epi16(even[0], even[1]), _mm256_unpackhi_epi16(even[2], even[3]),
         unit);
  add_to(sums + 16, _mm256_unpacklo_epi16(odd[0], odd[1]), _mm256_unpacklo_epi16(odd[2], odd[3]),
         unit);
  add_to(sums + 24, _mm256_unpackhi_epi16(odd[0], odd[1]), _mm256_unpackhi_epi16(odd[2], odd[3]),
         unit);
}

void lookup_columns_avx2(const LookupTiles& a) noexcept {
  for (int64_t i = a.first * kColumnOutputs; i < a.end * kColumnOutputs; ++i) a.sums[i] = 0;
  for (int64_t start = 0; start < a.inputs; start += kTileInputs) {
    const int64_t n = a.inputs - start < kTileInputs ? a.inputs - start : kTileInputs;
    const __m256 unit = _mm256_set1_ps(a.units[start / kTileInputs]);
    for (int64_t b = a.first; b < a.end; ++b) {
      add_tile(a.codes + kColumnOutputs * (start / 2 * a.blocks + b * n / 2),
               a.products + start * kProductBytes, n, unit, a.sums + b * kColumnOutputs);
    }
  }
}

}  // namespace tersor::codebook
