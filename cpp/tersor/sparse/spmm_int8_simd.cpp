// Compiled once per instruction set (cmake/instruction_sets.cmake); spmm_int8_avxvnni.cpp and
// spmm_int8_avx512vnni.cpp have the kernels for uint8 quads.
//
// Two products of uint8 x int8 in one int16: maddubs saturates, but not on weights as spmm_int8.h
// asks for them. Where there is no such instruction, even and odd bytes are multiplied apart.
#include "tersor/sparse/int8_strips.h"
#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

#if defined(__AVX2__)

struct PairProduct {
  using Weights = I32;  // four codes in every lane

  TERSOR_INLINE Weights weights(const char* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return splat(four);
  }
  TERSOR_INLINE I32 multiply(I32 sum, Weights w, I32 x) {
#if defined(__AVX512BW__)
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)x, (__m512i)w);
    return add(sum, (I32)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#else
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)x, (__m256i)w);
    return add(sum, (I32)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
  }
};

#else

typedef int16_t I16 __attribute__((vector_size(TERSOR_SPARSE_BYTES)));
typedef uint16_t U16 __attribute__((vector_size(TERSOR_SPARSE_BYTES)));

struct PairProduct {
  struct Weights {
    I16 even, odd;  // codes 0, 2 and 1, 3 in every lane
  };

  TERSOR_INLINE Weights weights(const char* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const I16 codes = (I16)splat(four);
    return {(codes << 8) >> 8, codes >> 8};
  }
  TERSOR_INLINE I32 dot(I32 sum, I16 x, I16 w) {
#if defined(__SSE2__)
    return add(sum, (I32)_mm_madd_epi16((__m128i)x, (__m128i)w));
#elif defined(__aarch64__)
    return add(sum,
               (I32)vpaddq_s32(vmull_s16(vget_low_s16((int16x8_t)x), vget_low_s16((int16x8_t)w)),
                               vmull_high_s16((int16x8_t)x, (int16x8_t)w)));
#else
    for (int i = 0; i < kLanes; ++i) sum[i] += x[2 * i] * w[2 * i] + x[2 * i + 1] * w[2 * i + 1];
    return sum;
#endif
  }
  TERSOR_INLINE I32 multiply(I32 sum, const Weights& w, I32 x) {
    const U16 both = (U16)x;
    return dot(dot(sum, (I16)(both & 255), w.even), (I16)(both >> 8), w.odd);
  }
};

#endif

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

}  // namespace

void TERSOR_SIMD_NAME(spmm_pack_quads)(const SpmmInt8Pack& p) noexcept {
  // What is flipped where x has no row meets weights of 0.
  const Bytes flip = p.flip - (Bytes){};
  const int64_t columns = p.columns, stride = p.stride, x_stride = p.x_stride;
  for (int64_t quad = 0; quad <= p.quads; ++quad) {
    uint8_t* to = p.tile + quad * stride * 4;
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
