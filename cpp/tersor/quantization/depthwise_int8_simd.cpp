// Compiled once per instruction set (cmake/instruction_sets.cmake) and again for VNNI.
//
// Two taps of 16 channels are interleaved, (tap 0, tap 1) per channel, and multiplied as int16
// pairs.
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// 256-bit vectors also with AVX-512: 16 channels are what small networks offer.
#if defined(__AVX2__)
constexpr int kHalves = 1;
typedef int16_t J16 __attribute__((vector_size(32)));
typedef int32_t J32 __attribute__((vector_size(32)));
TERSOR_INLINE J32 interleave_low(J16 a, J16 b) {
  return (J32)_mm256_unpacklo_epi16((__m256i)a, (__m256i)b);
}
TERSOR_INLINE J32 interleave_high(J16 a, J16 b) {
  return (J32)_mm256_unpackhi_epi16((__m256i)a, (__m256i)b);
}
#else
constexpr int kHalves = 2;
typedef int16_t J16 __attribute__((vector_size(16)));
typedef int32_t J32 __attribute__((vector_size(16)));
TERSOR_INLINE J32 interleave_low(J16 a, J16 b) {
  return (J32)__builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
TERSOR_INLINE J32 interleave_high(J16 a, J16 b) {
  return (J32)__builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
#endif

TERSOR_INLINE J32 dot_half(J32 acc, J32 a, J32 b) {
#if defined(__AVX512VNNI__)
  return (J32)_mm256_dpwssd_epi32((__m256i)acc, (__m256i)a, (__m256i)b);
#elif defined(__AVX512BW__)
  return (J32)_mm256_add_epi32((__m256i)acc, _mm256_madd_epi16((__m256i)a, (__m256i)b));
#else
  return dot(acc, a, b);
#endif
}

// Sixteen int32 in the order that interleaving makes (AVX2: 0-3 8-11 | 4-7 12-15), and back.
TERSOR_INLINE void load_ordered(const int32_t* p, J32 out[kHalves][2]) {
#if defined(__AVX2__)
  const __m256i a = (__m256i)load<J32>(p), b = (__m256i)load<J32>(p + 8);
  out[0][0] = (J32)_mm256_permute2x128_si256(a, b, 0x20);
  out[0][1] = (J32)_mm256_permute2x128_si256(a, b, 0x31);
#else
  for (int h = 0; h < kHalves; ++h) {
    for (int i = 0; i < 2; ++i) out[h][i] = load<J32>(p + 8 * h + 4 * i);
  }
#endif
}

TERSOR_INLINE void natural_order(const J32 acc[kHalves][2], I32 out[kParts]) {
#if defined(__AVX2__)
  const __m256i a = _mm256_permute2x128_si256((__m256i)acc[0][0], (__m256i)acc[0][1], 0x20);
  const __m256i b = _mm256_permute2x128_si256((__m256i)acc[0][0], (__m256i)acc[0][1], 0x31);
#if defined(__AVX512BW__)
  out[0] = (I32)_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
#else
  out[0] = (I32)a;
  out[1] = (I32)b;
#endif
#else
  for (int i = 0; i < kParts; ++i) out[i] = acc[i / 2][i % 2];
#endif
}

// Keeps the compiler from starting later sums before these are done: it would run out of registers
// and spill.
TERSOR_INLINE void finish_here(J32 acc[2]) {
#if defined(__SSE2__)
  __asm__ volatile("" : "+x"(acc[0]), "+x"(acc[1])::"memory");
#elif defined(__ARM_NEON)
  __asm__ volatile("" : "+w"(acc[0]), "+w"(acc[1])::"memory");
#else
  __asm__ volatile("" ::: "memory");
#endif
}

// One block of 16 channels, in the interleaved order.
struct Block {
  J32 weights[kDepthwisePairs][kHalves][2];
  J32 bias[kHalves][2];
  J32 multiplier[kHalves][2], rounding_offset[kHalves][2];  // floats
  int count;                                                // channels that exist
};

#if defined(__AVX2__)
// Sixteen words in natural order: packs undoes the interleaving, so that a pixel needs no
// permutation.
TERSOR_INLINE __m256i words_of(const J32 acc[2], const Block& block, const Finisher& f) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
#if defined(__AVX512BW__)
  const __m256 high = _mm512_castps512_ps256((__m512)f.high);
#else
  const __m256 high = (__m256)f.high;
#endif
  __m256i code[2];
  for (int i = 0; i < 2; ++i) {
    const __m256i sum = (__m256i)acc[i];
    const __m256 offset = _mm256_or_ps(_mm256_and_ps(_mm256_castsi256_ps(sum), sign),
                                       (__m256)block.rounding_offset[0][i]);
    const __m256 v = _mm256_add_ps(
        _mm256_mul_ps(_mm256_cvtepi32_ps(sum), (__m256)block.multiplier[0][i]), offset);
    code[i] = _mm256_cvtps_epi32(_mm256_min_ps(v, high));
  }
  const __m256i shifted = _mm256_adds_epi16(_mm256_packs_epi32(code[0], code[1]),
                                            _mm256_set1_epi16(static_cast<int16_t>(f.zero_point)));
  return _mm256_max_epi16(shifted, _mm256_set1_epi16(static_cast<int16_t>(f.least)));
}
#endif

TERSOR_INLINE void load_block(const DepthwiseInt8& a, int64_t channel, Block& block) {
  for (int64_t k = 0; k < a.pairs; ++k) {
    int32_t pair[16];  // one int32 holds the two weights of a channel
    __builtin_memcpy(pair, a.weights + (channel / 16 * a.pairs + k) * 32, sizeof pair);
    load_ordered(pair, block.weights[k]);
  }
  load_ordered(a.epilogue.bias + channel, block.bias);
  const Int8Epilogue& e = a.epilogue;
  load_ordered(reinterpret_cast<const int32_t*>(e.multiplier + channel), block.multiplier);
  load_ordered(reinterpret_cast<const int32_t*>(e.rounding_offset + channel),
               block.rounding_offset);
  block.count = a.channels - channel < 16 ? static_cast<int>(a.channels - channel) : 16;
}

template <int kPixels, Finish kFinish, bool kWhole>
TERSOR_INLINE void finish_pixels(const DepthwiseInt8& a, const Finisher& f, const Block& block,
                                 const J32 acc[kPixels][kHalves][2], int64_t at) {
  int p = 0;
#if defined(__AVX2__)
  if constexpr (kFinish == Finish::codes && kWhole) {
    int8_t* y = a.out.y + at;
#pragma GCC unroll 2
    for (; p + 2 <= kPixels; p += 2, y += 2 * a.out.stride) {
      const __m256i bytes = _mm256_permute4x64_epi64(
          _mm256_packs_epi16(words_of(acc[p][0], block, f), words_of(acc[p + 1][0], block, f)),
          0xD8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm256_castsi256_si128(bytes));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + a.out.stride),
                       _mm256_extracti128_si256(bytes, 1));
    }
  }
#endif
#pragma GCC unroll 4
  for (; p < kPixels; ++p) {
    I32 sums[kParts];
    natural_order(acc[p], sums);
    finish<kFinish, kWhole>(sums, f, block.count, a.out, at + p * a.out.stride);
  }
}

template <int kPixels, Finish kFinish, bool kWhole>
TERSOR_INLINE void depthwise_pixels(const DepthwiseInt8& a, const Finisher& f, const int16_t* image,
                                    const Block& block, const int32_t* taps, int64_t at) {
  J32 acc[kPixels][kHalves][2];
#pragma GCC unroll 4
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 4
    for (int i = 0; i < 2 * kHalves; ++i) acc[p][i / 2][i % 2] = block.bias[i / 2][i % 2];
  }
  const int64_t step = a.column_step;
  for (int64_t k = 0; k < a.pairs; ++k) {
    const int16_t* x0 = image + taps[2 * k];
    const int16_t* x1 = image + taps[2 * k + 1];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const J32 low = block.weights[k][h][0], high = block.weights[k][h][1];
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) {
        const J16 u = load<J16>(x0 + p * step + 8 * h), v = load<J16>(x1 + p * step + 8 * h);
        acc[p][h][0] = dot_half(acc[p][h][0], interleave_low(u, v), low);
        acc[p][h][1] = dot_half(acc[p][h][1], interleave_high(u, v), high);
      }
    }
  }
  finish_pixels<kPixels, kFinish, kWhole>(a, f, block, acc, at);
}

// 3 x 3 with neighbouring pixels kStride taps apart, column by column: rows 0 and 1 of a column
// make a pair, and columns c and c + 1 of row 2, used by every pixel that sees the column. Taps in
// the order (00, 10), (01, 11), (02, 12), (20, 21), (22, -), the last with a second weight of 0:
// see square_stride.
template <int kPixels, int kStride, Finish kFinish, bool kWhole>
TERSOR_INLINE void depthwise_square(const DepthwiseInt8& a, const Finisher& f, const int16_t* image,
                                    const Block& block, int64_t column, int64_t row, int64_t at) {
  constexpr int kColumns = kStride * (kPixels - 1) + 3;
  J32 acc[kPixels][kHalves][2];
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    const int16_t* top = image + 8 * h;
#pragma GCC unroll 4
    for (int p = 0; p < kPixels; ++p) {
      acc[p][h][0] = block.bias[h][0];
      acc[p][h][1] = block.bias[h][1];
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      const J16 u = load<J16>(top + c * column), v = load<J16>(top + row + c * column);
      const J32 low = interleave_low(u, v), high = interleave_high(u, v);
      const J16 x = load<J16>(top + 2 * row + c * column);
      const J16 right = load<J16>(top + 2 * row + (c + 1 < kColumns ? c + 1 : c) * column);
      const J32 low2 = interleave_low(x, right), high2 = interleave_high(x, right);
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) {
        const int k = c - kStride * p;
        if (k < 0 || k > 2) continue;
        acc[p][h][0] = dot_half(acc[p][h][0], low, block.weights[k][h][0]);
        acc[p][h][1] = dot_half(acc[p][h][1], high, block.weights[k][h][1]);
        if (k == 1) continue;
        acc[p][h][0] = dot_half(acc[p][h][0], low2, block.weights[3 + k / 2][h][0]);
        acc[p][h][1] = dot_half(acc[p][h][1], high2, block.weights[3 + k / 2][h][1]);
      }
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) finish_here(acc[p][h]);
    }
  }
  finish_pixels<kPixels, kFinish, kWhole>(a, f, block, acc, at);
}

template <int kStride, Finish kFinish, bool kWhole>
TERSOR_INLINE void square_row(const DepthwiseInt8& a, const Finisher& f, const int16_t* image,
                              const Block& block, int64_t at) {
  const int64_t column = a.taps[2] - a.taps[0], row = a.taps[1] - a.taps[0];
  int64_t p = 0;
  for (; p + 4 <= a.columns; p += 4, image += 4 * a.column_step, at += 4 * a.out.stride) {
    depthwise_square<4, kStride, kFinish, kWhole>(a, f, image, block, column, row, at);
  }
  if (p + 2 <= a.columns) {
    depthwise_square<2, kStride, kFinish, kWhole>(a, f, image, block, column, row, at);
    p += 2, image += 2 * a.column_step, at += 2 * a.out.stride;
  }
  if (p < a.columns)
    depthwise_square<1, kStride, kFinish, kWhole>(a, f, image, block, column, row, at);
}

template <Finish kFinish, bool kWhole>
TERSOR_INLINE void window_row(const DepthwiseInt8& a, const Finisher& f, const int16_t* image,
                              const Block& block, const int32_t* taps, int64_t at) {
  int64_t p = 0;
  for (; p + 2 <= a.columns; p += 2, image += 2 * a.column_step, at += 2 * a.out.stride) {
    depthwise_pixels<2, kFinish, kWhole>(a, f, image, block, taps, at);
  }
  if (p < a.columns) depthwise_pixels<1, kFinish, kWhole>(a, f, image, block, taps, at);
}

// 0: any window; 1 or 2: 3 x 3 of that stride, dilation 1, taps in the order of depthwise_square.
int square_stride(const DepthwiseInt8& a) {
  if (a.pairs != 5) return 0;
  static constexpr int kOrder[10] = {0, 3, 1, 4, 2, 5, 6, 7, 8, 8};
  const int32_t* t = a.taps;
  const int32_t row = t[1] - t[0], column = t[2] - t[0];
  for (int i = 0; i < 10; ++i) {
    if (t[i] != t[0] + kOrder[i] / 3 * row + kOrder[i] % 3 * column) return 0;
  }
  if (a.column_step == column) return 1;
  return a.column_step == 2 * column ? 2 : 0;
}

template <Finish kFinish, bool kWhole>
void depthwise_block(const DepthwiseInt8& a, const Finisher& f, const Block& block, int stride,
                     const int32_t* taps, int64_t channel) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const int16_t* image =
        a.image + channel / 16 * a.plane_step + r * a.row_step + (stride ? taps[0] : 0);
    const int64_t at = r * a.columns * a.out.stride + channel;
    if (stride == 1) {
      square_row<1, kFinish, kWhole>(a, f, image, block, at);
    } else if (stride == 2) {
      square_row<2, kFinish, kWhole>(a, f, image, block, at);
    } else {
      window_row<kFinish, kWhole>(a, f, image, block, taps, at);
    }
  }
}

struct Depthwise {
  const DepthwiseInt8& a;
  template <Finish kFinish>
  void run() const {
    Finisher f = make_finisher(a.epilogue, kFinish == Finish::add);
    int32_t taps[2 * kDepthwisePairs];
    for (int64_t t = 0; t < 2 * a.pairs; ++t) taps[t] = a.taps[t];
    const int stride = square_stride(a);
    Block block;
    for (int64_t c = 0; c < a.channels; c += 16) {
      load_block(a, c, block);
      set_panel(f, a.epilogue, c);
      if (block.count == 16) {
        depthwise_block<kFinish, true>(a, f, block, stride, taps, c);
      } else {
        depthwise_block<kFinish, false>(a, f, block, stride, taps, c);
      }
    }
  }
};

}  // namespace

void TERSOR_SIMD_NAME(depthwise_int8)(const DepthwiseInt8& a) noexcept {
  with_finish(a.out, Depthwise{a});
}

}  // namespace tersor::quantization
