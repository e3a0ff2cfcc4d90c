// Affine quantization on every instruction set of the machine (also under emulation).
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "check.h"
#include "tersor/base/error.h"
#include "tersor/base/random.h"
#include "tersor/quantization/affine.h"

using tersor::quantization::dequantize_affine;
using tersor::quantization::quantize_affine;

TEST(quantize_affine_truth) {
  const tersor::Philox random(3);
  const float scale = 0.3f;
  const std::int32_t zero_point = -7;
  for (const std::size_t n : {0, 1, 15, 16, 17, 63, 1000, 100'003}) {
    std::vector<float> x(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = (random.uniform(i) - 0.5f) * 100;
    for (std::size_t i = 0; i < n; i += 3) x[i] = std::floor(x[i]) * scale + 0.5f * scale;  // ties
    if (n > 3) {
      x[0] = std::numeric_limits<float>::quiet_NaN();
      x[1] = std::numeric_limits<float>::infinity();
      x[2] = -x[1];
    }
    std::vector<std::int8_t> q(n);
    quantize_affine(x.data(), q.data(), {1, 1, n}, &scale, &zero_point);
    bool equal = true;
    for (std::size_t i = 0; i < n; ++i) {
      // The correctly rounded float quotient, by way of double.
      const float v = static_cast<float>(static_cast<double>(x[i]) / scale);
      const double r = std::isnan(v) ? 0 : std::nearbyint(static_cast<double>(v));
      equal = equal && q[i] == std::fmin(std::fmax(r + zero_point, -128), 127);
    }
    EXPECT(equal);
  }
}

TEST(affine_round_trip_per_channel) {
  const std::vector<float> scale = {0.1f, 2.0f, 1e-20f};
  const std::vector<std::int32_t> zero_point = {-128, 0, 127};
  for (const std::size_t inner : {1, 5}) {
    const std::size_t outer = 256;
    std::vector<std::int8_t> q(outer * 3 * inner), back(q.size());
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<std::int8_t>(i / (3 * inner));
    std::vector<float> y(q.size());
    dequantize_affine(q.data(), y.data(), {outer, 3, inner}, scale.data(), zero_point.data());
    quantize_affine(y.data(), back.data(), {outer, 3, inner}, scale.data(), zero_point.data());
    EXPECT(q == back);
  }
}

TEST(quantize_affine_rejects) {
  const float zero = 0, one = 1;
  const std::int32_t z = 0, far = 200;
  EXPECT_THROWS(tersor::ValueError, "scale must be finite and > 0, got 0",
                quantize_affine(nullptr, nullptr, {}, &zero, &z));
  EXPECT_THROWS(tersor::ValueError, "zero_point must be in [-128, 127], got 200",
                quantize_affine(nullptr, nullptr, {}, &one, &far));
}

TEST_MAIN()
