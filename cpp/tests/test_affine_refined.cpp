// The quotient that the AVX-512 build of affine_simd.cpp uses, here compiled for AVX2 and FMA, so
// that it is tested on more machines (CMakeLists.txt gives the flags).
#define TERSOR_SIMD_NAME(op) op##_simd_refined
#define TERSOR_REFINED_QUOTIENT 1
#include "tersor/quantization/affine_simd.cpp"

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "tersor/base/random.h"

namespace {

bool same_codes(const std::vector<float>& x, float scale, std::int32_t zero_point) {
  std::vector<std::int8_t> q(x.size());
  tersor::quantization::quantize_affine_simd_refined(x.data(), q.data(), x.size(), scale,
                                                     zero_point, -128, 127);
  bool same = true;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float v = x[i] / scale;
    const float r = std::isnan(v) ? 0 : std::nearbyint(v) + static_cast<float>(zero_point);
    const float code =
        std::isnan(v) ? static_cast<float>(zero_point) : std::fmin(std::fmax(r, -128.0f), 127.0f);
    same = same && static_cast<float>(q[i]) == code;
  }
  return same;
}

}  // namespace

TEST(refined_quotient_at_ties) {
  if (!(tersor::cpu_features() & tersor::Feature::avx2)) return;
  const tersor::Philox random(5);
  for (int s = 0; s < 2000; ++s) {
    const float mantissa = 1 + random.uniform(s);
    const float scale = std::ldexp(mantissa, static_cast<int>(random.below(s + 9999, 170)) - 78);
    std::vector<float> x;
    for (int k = -260; k <= 260; ++k) {
      const float tie = static_cast<float>((k + 0.5) * static_cast<double>(scale));
      x.insert(x.end(), {tie, std::nextafter(tie, INFINITY), std::nextafter(tie, -INFINITY)});
    }
    EXPECT(same_codes(x, scale, static_cast<std::int32_t>(s % 256) - 128));
  }
}

TEST(refined_quotient_of_any_bits) {
  if (!(tersor::cpu_features() & tersor::Feature::avx2)) return;
  const tersor::Philox random(6);
  std::vector<float> x(4096);
  for (std::uint64_t s = 0; s < 500; ++s) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = __builtin_bit_cast(float, random.word(s * x.size() + i));
    }
    x[0] = INFINITY;
    x[1] = -INFINITY;
    x[2] = std::numeric_limits<float>::quiet_NaN();
    x[3] = std::numeric_limits<float>::max();
    x[4] = std::numeric_limits<float>::denorm_min();
    // Every positive finite scale, small and large ones too: those take the division.
    const std::uint32_t bits = 1 + random.below(s, 0x7F800000u - 1);
    EXPECT(same_codes(x, __builtin_bit_cast(float, bits), 5));
  }
}

TEST_MAIN()
