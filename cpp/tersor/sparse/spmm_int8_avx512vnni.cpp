// uint8 x int8 quads with VNNI; spmm_int8_avxvnni.cpp compiles it again for 256-bit vectors.
#ifndef TERSOR_SIMD_NAME
#define TERSOR_SIMD_NAME(op) op##_avx512vnni
#endif
#include "tersor/sparse/int8_strips.h"
#include "tersor/sparse/kernels.h"

namespace tersor::sparse {
namespace {

struct QuadProduct {
  using Weights = I32;
  TERSOR_INLINE I32 weights(const char* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return splat(four);
  }
  TERSOR_INLINE I32 multiply(I32 sum, I32 w, I32 x) {
#if defined(__AVX512VNNI__)
    return (I32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
#else
    return (I32)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
#endif
  }
};

}  // namespace

void TERSOR_SIMD_NAME(spmm_quads)(const SpmmInt8Tile& t) noexcept { multiply_tile<QuadProduct>(t); }

}  // namespace tersor::sparse
