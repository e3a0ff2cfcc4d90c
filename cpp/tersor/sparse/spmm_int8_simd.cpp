// Compiled once per instruction set (cmake/instruction_sets.cmake); spmm_int8_avxvnni.cpp and
// spmm_int8_avx512vnni.cpp have the kernels for uint8 quads.
//
// Products of int16 pairs: uint8 x int8 pairs of one instruction (maddubs) would saturate.
#include "tersor/sparse/int8_strips.h"
#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

struct PairProduct {
  struct Weights {
    I32 low, high;  // codes 0, 1 and 2, 3 as int16 in every lane
  };
  static constexpr int kBytes = 8;

  TERSOR_INLINE Weights weights(const char* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
#if defined(__AVX512BW__)
    const __m512i all = _mm512_cvtepi8_epi16(_mm256_set1_epi32(four));
    return {(I32)_mm512_shuffle_epi32(all, _MM_PERM_AAAA),
            (I32)_mm512_shuffle_epi32(all, _MM_PERM_BBBB)};
#elif defined(__AVX2__)
    const __m256i all = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
    return {(I32)_mm256_shuffle_epi32(all, 0x00), (I32)_mm256_shuffle_epi32(all, 0x55)};
#elif defined(__SSE2__)
    const __m128i bytes = _mm_cvtsi32_si128(four);
    const __m128i all = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    return {(I32)_mm_shuffle_epi32(all, 0x00), (I32)_mm_shuffle_epi32(all, 0x55)};
#else
    const auto code = [four](int i) {
      return static_cast<uint32_t>(
          static_cast<uint16_t>(static_cast<int8_t>(static_cast<uint32_t>(four) >> (8 * i))));
    };
    return {splat(static_cast<int32_t>(code(0) | code(1) << 16)),
            splat(static_cast<int32_t>(code(2) | code(3) << 16))};
#endif
  }

  TERSOR_INLINE I32 dot(I32 sum, I32 a, I32 b) {
#if defined(__AVX512BW__)
    return add(sum, (I32)_mm512_madd_epi16((__m512i)a, (__m512i)b));
#elif defined(__AVX2__)
    return add(sum, (I32)_mm256_madd_epi16((__m256i)a, (__m256i)b));
#elif defined(__SSE2__)
    return add(sum, (I32)_mm_madd_epi16((__m128i)a, (__m128i)b));
#elif defined(__aarch64__)
    const int16x8_t x = (int16x8_t)a, w = (int16x8_t)b;
    return add(sum,
               (I32)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(w)), vmull_high_s16(x, w)));
#else
    typedef int16_t I16 __attribute__((vector_size(TERSOR_SPARSE_BYTES)));
    const I16 x = (I16)a, w = (I16)b;
    for (int i = 0; i < kLanes; ++i) sum[i] += x[2 * i] * w[2 * i] + x[2 * i + 1] * w[2 * i + 1];
    return sum;
#endif
  }

  TERSOR_INLINE I32 multiply(I32 sum, const Weights& w, const char* x, int64_t half) {
    return dot(dot(sum, w.low, load(x)), w.high, load(x + half));
  }
};

}  // namespace

void TERSOR_SIMD_NAME(spmm_pairs)(const SpmmInt8Tile& t) noexcept { multiply_tile<PairProduct>(t); }

// Rows that x does not have come from zeros[], so that the loops below have no condition.
static constexpr int64_t kChunk = 64;
static constexpr uint8_t kZeros[kChunk] = {};

void TERSOR_SIMD_NAME(spmm_pack_pairs)(const SpmmInt8Pack& p) noexcept {
  const uint8_t sign = p.is_signed ? 128 : 0;
  for (int64_t pair = 0; pair < 2 * (p.quads + 1); ++pair) {
    auto* to = static_cast<int16_t*>(p.tile) + pair * p.stride * 2;
    const bool first = 2 * pair < p.rows, second = 2 * pair + 1 < p.rows;
    for (int64_t n = 0; n < p.columns; n += kChunk) {
      const uint8_t* a = first ? p.x + 2 * pair * p.x_stride + n : kZeros;
      const uint8_t* b = second ? p.x + (2 * pair + 1) * p.x_stride + n : kZeros;
      const int64_t count = p.columns - n < kChunk ? p.columns - n : kChunk;
      // (byte ^ 128) - 128 is the sign extension.
      for (int64_t i = 0; i < count; ++i) {
        to[2 * (n + i)] = static_cast<int16_t>((a[i] ^ sign) - sign);
        to[2 * (n + i) + 1] = static_cast<int16_t>((b[i] ^ sign) - sign);
      }
    }
    for (int64_t i = 2 * p.columns; i < 2 * p.stride; ++i) to[i] = 0;
  }
}

void TERSOR_SIMD_NAME(spmm_pack_quads)(const SpmmInt8Pack& p) noexcept {
  const uint8_t sign = p.is_signed ? 128 : 0;
  for (int64_t quad = 0; quad <= p.quads; ++quad) {
    auto* to = static_cast<uint8_t*>(p.tile) + quad * p.stride * 4;
    for (int64_t n = 0; n < p.columns; n += kChunk) {
      const uint8_t* from[4];
      uint8_t flip[4];
      for (int i = 0; i < 4; ++i) {
        const bool inside = 4 * quad + i < p.rows;
        from[i] = inside ? p.x + (4 * quad + i) * p.x_stride + n : kZeros;
        flip[i] = inside ? sign : 0;
      }
      const int64_t count = p.columns - n < kChunk ? p.columns - n : kChunk;
      for (int64_t i = 0; i < count; ++i) {
        uint8_t* four = to + 4 * (n + i);
        four[0] = from[0][i] ^ flip[0];
        four[1] = from[1][i] ^ flip[1];
        four[2] = from[2][i] ^ flip[2];
        four[3] = from[3][i] ^ flip[3];
      }
    }
    for (int64_t i = 4 * p.columns; i < 4 * p.stride; ++i) to[i] = 0;
  }
}

}  // namespace tersor::sparse
