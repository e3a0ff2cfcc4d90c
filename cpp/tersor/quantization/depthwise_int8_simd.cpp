// Compiled once per instruction set (cmake/instruction_sets.cmake) and again for VNNI.
//
// Two taps of 16 channels are interleaved, (tap 0, tap 1) per channel, and multiplied as int16 pairs.
#include "tersor/quantization/int8_lanes.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

// 256-bit vectors also with AVX-512: 16 channels are what small networks offer.
#if defined(__AVX2__)
constexpr int kHalves = 1;
typedef int16_t J16 __attribute__((vector_size(32)));
typedef int32_t J32 __attribute__((vector_size(32)));
TERSOR_INLINE J32 interleave_low(J16 a, J16 b) { return (J32)_mm256_unpacklo_epi16((__m256i)a, (__m256i)b); }
TERSOR_INLINE J32 interleave_high(J16 a, J16 b) { return (J32)_mm256_unpackhi_epi16((__m256i)a, (__m256i)b); }
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

// One block of 16 channels, in the interleaved order.
struct Block {
  J32 weights[kDepthwisePairs][kHalves][2];
  J32 bias[kHalves][2];
  int count;  // channels that exist
};

TERSOR_INLINE void load_block(const DepthwiseInt8& a, int64_t channel, Block& block) {
  for (int64_t k = 0; k < a.pairs; ++k) {
    int32_t pair[16];  // one int32 holds the two weights of a channel
    __builtin_memcpy(pair, a.weights + (channel / 16 * a.pairs + k) * 32, sizeof pair);
    load_ordered(pair, block.weights[k]);
  }
  load_ordered(a.epilogue.bias + channel, block.bias);
  block.count = a.channels - channel < 16 ? static_cast<int>(a.channels - channel) : 16;
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
#pragma GCC unroll 4
  for (int p = 0; p < kPixels; ++p) {
    I32 sums[kParts];
    natural_order(acc[p], sums);
    finish<kFinish, kWhole>(sums, f, block.count, a.out, at + p * a.out.stride);
  }
}

// 3 x 3 with neighbouring pixels kStride taps apart. Rows 0 and 1 of a column make a pair, and columns c and
// c + 1 of row 2; pixels share the pairs of the columns that they share. Two pixels with stride 1 hold 8
// registers of pairs and 4 sums; more would be spilled. Taps in the order (00, 10), (01, 11), (02, 12), (20, 21),
// (22, -): see square_stride.
template <int kPixels, int kStride, Finish kFinish, bool kWhole>
TERSOR_INLINE void depthwise_square(const DepthwiseInt8& a, const Finisher& f, const int16_t* image,
                                    const Block& block, int64_t column, int64_t row, int64_t at) {
  constexpr int kColumns = kStride * (kPixels - 1) + 3;
  J32 acc[kPixels][kHalves][2];
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    const int16_t* first = image + 8 * h;
    J32 low[kColumns], high[kColumns];
    // Keeps loads of the next step from moving up here, where registers are short.
    __asm__ volatile("" ::: "memory");
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const J16 u = load<J16>(first + c * column), v = load<J16>(first + row + c * column);
      low[c] = interleave_low(u, v);
      high[c] = interleave_high(u, v);
    }
#pragma GCC unroll 4
    for (int p = 0; p < kPixels; ++p) {
      acc[p][h][0] = block.bias[h][0];
      acc[p][h][1] = block.bias[h][1];
    }
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) {
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) {
        acc[p][h][0] = dot_half(acc[p][h][0], low[kStride * p + k], block.weights[k][h][0]);
        acc[p][h][1] = dot_half(acc[p][h][1], high[kStride * p + k], block.weights[k][h][1]);
      }
    }
    __asm__ volatile("" ::: "memory");
    // The last column has no right neighbour; its second weight is 0.
    J16 x[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) x[c] = load<J16>(first + 2 * row + c * column);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const J16 right = x[c + 1 < kColumns ? c + 1 : c];
      low[c] = interleave_low(x[c], right);
      high[c] = interleave_high(x[c], right);
    }
#pragma GCC unroll 2
    for (int k = 3; k < 5; ++k) {
#pragma GCC unroll 4
      for (int p = 0; p < kPixels; ++p) {
        const int c = kStride * p + 2 * (k - 3);
        acc[p][h][0] = dot_half(acc[p][h][0], low[c], block.weights[k][h][0]);
        acc[p][h][1] = dot_half(acc[p][h][1], high[c], block.weights[k][h][1]);
      }
    }
  }
  __asm__ volatile("" ::: "memory");
#pragma GCC unroll 4
  for (int p = 0; p < kPixels; ++p) {
    I32 sums[kParts];
    natural_order(acc[p], sums);
    finish<kFinish, kWhole>(sums, f, block.count, a.out, at + p * a.out.stride);
  }
}

template <int kStride, Finish kFinish, bool kWhole>
TERSOR_INLINE void square_row(const DepthwiseInt8& a, const Finisher& f, const int16_t* image, const Block& block,
                              int64_t at) {
  const int64_t column = a.taps[2] - a.taps[0], row = a.taps[1] - a.taps[0];
  constexpr int kPixels = kStride == 1 ? 2 : 1;
  int64_t p = 0;
  for (; p + kPixels <= a.columns; p += kPixels, image += kPixels * a.column_step, at += kPixels * a.out.stride) {
    depthwise_square<kPixels, kStride, kFinish, kWhole>(a, f, image, block, column, row, at);
  }
  if (p < a.columns) depthwise_square<1, kStride, kFinish, kWhole>(a, f, image, block, column, row, at);
}

template <Finish kFinish, bool kWhole>
TERSOR_INLINE void window_row(const DepthwiseInt8& a, const Finisher& f, const int16_t* image, const Block& block,
                              const int32_t* taps, int64_t at) {
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
void depthwise_block(const DepthwiseInt8& a, const Finisher& f, const Block& block, int stride, const int32_t* taps,
                     int64_t channel) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const int16_t* image = a.image + channel / 16 * a.plane_step + r * a.row_step + (stride ? taps[0] : 0);
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

void TERSOR_SIMD_NAME(depthwise_int8)(const DepthwiseInt8& a) noexcept { with_finish(a.out, Depthwise{a}); }

}  // namespace tersor::quantization
