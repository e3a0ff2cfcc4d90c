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

// The interleaved order of AVX2, channels 0-3 8-11 | 4-7 12-15, and back.
struct Pairs {
  J32 part[kHalves][2];
};

TERSOR_INLINE Pairs load_ordered(const int32_t* p) {
  Pairs r;
#if defined(__AVX2__)
  const __m256i a = (__m256i)load<J32>(p), b = (__m256i)load<J32>(p + 8);
  r.part[0][0] = (J32)_mm256_permute2x128_si256(a, b, 0x20);
  r.part[0][1] = (J32)_mm256_permute2x128_si256(a, b, 0x31);
#else
  for (int h = 0; h < kHalves; ++h) {
    for (int i = 0; i < 2; ++i) r.part[h][i] = load<J32>(p + 8 * h + 4 * i);
  }
#endif
  return r;
}

TERSOR_INLINE void natural_order(const Pairs& acc, I32 out[kParts]) {
#if defined(__AVX2__)
  const __m256i a = _mm256_permute2x128_si256((__m256i)acc.part[0][0], (__m256i)acc.part[0][1], 0x20);
  const __m256i b = _mm256_permute2x128_si256((__m256i)acc.part[0][0], (__m256i)acc.part[0][1], 0x31);
#if defined(__AVX512BW__)
  out[0] = (I32)_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
#else
  out[0] = (I32)a;
  out[1] = (I32)b;
#endif
#else
  for (int i = 0; i < kParts; ++i) out[i] = acc.part[i / 2][i % 2];
#endif
}

template <int kPixels, Finish kFinish>
TERSOR_INLINE void depthwise_pixels(const DepthwiseInt8& a, const Finisher& f, const int16_t* image,
                                    const Pairs* weights, const Pairs& bias, int count, int64_t at) {
  Pairs acc[kPixels];
  for (int p = 0; p < kPixels; ++p) acc[p] = bias;
  for (int64_t k = 0; k < a.pairs; ++k) {
    const int16_t* x0 = image + a.taps[2 * k];
    const int16_t* x1 = image + a.taps[2 * k + 1];
    for (int h = 0; h < kHalves; ++h) {
      const J32 low = weights[k].part[h][0], high = weights[k].part[h][1];
      for (int p = 0; p < kPixels; ++p) {
        const J16 u = load<J16>(x0 + p * a.column_step + 8 * h), v = load<J16>(x1 + p * a.column_step + 8 * h);
        acc[p].part[h][0] = dot_half(acc[p].part[h][0], interleave_low(u, v), low);
        acc[p].part[h][1] = dot_half(acc[p].part[h][1], interleave_high(u, v), high);
      }
    }
  }
  for (int p = 0; p < kPixels; ++p, at += a.out.stride) {
    I32 sums[kParts];
    natural_order(acc[p], sums);
    finish<kFinish>(sums, f, count, a.out, at);
  }
}

struct Depthwise {
  const DepthwiseInt8& a;
  template <Finish kFinish>
  void run() const {
    Finisher f = make_finisher(a.epilogue, kFinish == Finish::add);
    Pairs weights[kDepthwisePairs];
    for (int64_t c = 0; c < a.channels; c += 16) {
      for (int64_t k = 0; k < a.pairs; ++k) {
        int32_t pair[16];  // one int32 holds the two weights of a channel
        __builtin_memcpy(pair, a.weights + (c / 16 * a.pairs + k) * 32, sizeof pair);
        weights[k] = load_ordered(pair);
      }
      const Pairs bias = load_ordered(a.epilogue.bias + c);
      set_panel(f, a.epilogue, c);
      const int count = a.channels - c < 16 ? static_cast<int>(a.channels - c) : 16;
      for (int64_t r = 0; r < a.rows; ++r) {
        const int16_t* image = a.image + r * a.row_step + c;
        int64_t at = r * a.columns * a.out.stride + c;
        int64_t p = 0;
        for (; p + 2 <= a.columns; p += 2, image += 2 * a.column_step, at += 2 * a.out.stride) {
          depthwise_pixels<2, kFinish>(a, f, image, weights, bias, count, at);
        }
        if (p < a.columns) depthwise_pixels<1, kFinish>(a, f, image, weights, bias, count, at);
      }
    }
  }
};

}  // namespace

void TERSOR_SIMD_NAME(depthwise_int8)(const DepthwiseInt8& a) noexcept { with_finish(a.out, Depthwise{a}); }

}  // namespace tersor::quantization
