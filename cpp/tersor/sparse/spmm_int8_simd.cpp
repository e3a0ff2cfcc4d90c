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

namespace {

typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef int8_t SignedBytes __attribute__((vector_size(16)));
typedef uint16_t Halves __attribute__((vector_size(16)));
typedef int16_t Words __attribute__((vector_size(32)));

template <class V, class T>
TERSOR_INLINE V load_bytes(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
TERSOR_INLINE void store_bytes(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

TERSOR_INLINE Bytes low_pairs(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TERSOR_INLINE Bytes high_pairs(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}
TERSOR_INLINE Bytes low_quads(Bytes a, Bytes b) {
  return (Bytes)__builtin_shufflevector((Halves)a, (Halves)b, 0, 8, 1, 9, 2, 10, 3, 11);
}
TERSOR_INLINE Bytes high_quads(Bytes a, Bytes b) {
  return (Bytes)__builtin_shufflevector((Halves)a, (Halves)b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// Sixteen pairs, as int16.
template <bool kSigned>
TERSOR_INLINE void store_pairs(int16_t* to, Bytes a, Bytes b) {
  const Bytes low = low_pairs(a, b), high = high_pairs(a, b);
  if constexpr (kSigned) {
    store_bytes(to, __builtin_convertvector((SignedBytes)low, Words));
    store_bytes(to + 16, __builtin_convertvector((SignedBytes)high, Words));
  } else {
    store_bytes(to, __builtin_convertvector(low, Words));
    store_bytes(to + 16, __builtin_convertvector(high, Words));
  }
}

TERSOR_INLINE void store_quads(uint8_t* to, Bytes a, Bytes b, Bytes c, Bytes d) {
  const Bytes ab = low_pairs(a, b), cd = low_pairs(c, d);
  store_bytes(to, low_quads(ab, cd));
  store_bytes(to + 16, high_quads(ab, cd));
  const Bytes ab2 = high_pairs(a, b), cd2 = high_pairs(c, d);
  store_bytes(to + 32, low_quads(ab2, cd2));
  store_bytes(to + 48, high_quads(ab2, cd2));
}

// Columns n .. n + 15 of row k; zeros where x has none, or what follows it in memory.
TERSOR_INLINE Bytes columns_of(const SpmmInt8Pack& p, int64_t k, int64_t n) {
  Bytes v = {};
  if (k >= p.rows || n >= p.columns) return v;
  const uint8_t* from = p.x + k * p.x_stride + n;
  // Before the last row there is the next one to read into.
  if (n + 16 <= p.columns || (k + 1 < p.rows && n + 16 <= p.x_stride + p.columns))
    return load_bytes<Bytes>(from);
  for (int64_t i = 0; n + i < p.columns; ++i) v[i] = from[i];
  return v;
}

template <bool kSigned>
static void pack_pairs(const SpmmInt8Pack& p) noexcept {
  const int64_t columns = p.columns, stride = p.stride;
  for (int64_t pair = 0; pair < 2 * (p.quads + 1); ++pair) {
    auto* to = static_cast<int16_t*>(p.tile) + pair * stride * 2;
    int64_t n = 0;
    if (2 * pair + 1 < p.rows) {
      const uint8_t* a = p.x + 2 * pair * p.x_stride;
      const uint8_t* b = a + p.x_stride;
      for (; n + 16 <= columns; n += 16)
        store_pairs<kSigned>(to + 2 * n, load_bytes<Bytes>(a + n), load_bytes<Bytes>(b + n));
    }
    for (; n < stride; n += 16)
      store_pairs<kSigned>(to + 2 * n, columns_of(p, 2 * pair, n), columns_of(p, 2 * pair + 1, n));
  }
}

}  // namespace

void TERSOR_SIMD_NAME(spmm_pack_pairs)(const SpmmInt8Pack& p) noexcept {
  if (p.is_signed) {
    pack_pairs<true>(p);
  } else {
    pack_pairs<false>(p);
  }
}

void TERSOR_SIMD_NAME(spmm_pack_quads)(const SpmmInt8Pack& p) noexcept {
  // What is flipped where x has no row meets weights of 0.
  const uint8_t sign = p.is_signed ? 128 : 0;
  const Bytes flip = sign - (Bytes){};
  const int64_t columns = p.columns, stride = p.stride, x_stride = p.x_stride;
  for (int64_t quad = 0; quad <= p.quads; ++quad) {
    auto* to = static_cast<uint8_t*>(p.tile) + quad * stride * 4;
    const int64_t k = 4 * quad;
    int64_t n = 0;
    if (k + 3 < p.rows) {
      const uint8_t* x = p.x + k * x_stride;
      for (; n + 16 <= columns; n += 16, x += 16) {
        store_quads(to + 4 * n, load_bytes<Bytes>(x) ^ flip, load_bytes<Bytes>(x + x_stride) ^ flip,
                    load_bytes<Bytes>(x + 2 * x_stride) ^ flip,
                    load_bytes<Bytes>(x + 3 * x_stride) ^ flip);
      }
    }
    for (; n < stride; n += 16) {
      store_quads(to + 4 * n, columns_of(p, k, n) ^ flip, columns_of(p, k + 1, n) ^ flip,
                  columns_of(p, k + 2, n) ^ flip, columns_of(p, k + 3, n) ^ flip);
    }
  }
}

}  // namespace tersor::sparse
