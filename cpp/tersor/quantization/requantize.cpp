#include "tersor/quantization/requantize.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tersor/base/error.h"

namespace tersor::quantization {

FixedMultiplier fixed_multiplier(double value) {
  TERSOR_CHECK(value >= 0 && value < 0x1p30, "fixed_multiplier: value must be in [0, 2^30), got ",
               value);
  int exponent;
  const double fraction = std::frexp(value, &exponent);
  auto mantissa = static_cast<int64_t>(std::round(fraction * 0x1p31));
  if (mantissa == int64_t{1} << 31) {
    mantissa /= 2;
    ++exponent;
  }
  if (exponent < -31) return {};
  return {static_cast<int32_t>(mantissa), exponent};
}

namespace {

float rounding_offset(const FixedMultiplier& fixed) {
  return fixed.shift < 0 ? std::ldexp(1.0f, fixed.shift - 1) : 0.0f;
}

}  // namespace

CodeRange activation_codes(const std::string& activation, const QParams& output) {
  CodeRange range{output.code_min(), output.code_max()};
  if (activation == "none") return range;
  const int32_t zero = output.zero_point.at(0);
  TERSOR_CHECK(activation == "relu" || activation == "relu6",
               "activation: must be none, relu or relu6, got ", activation);
  range.low = std::max(range.low, zero);
  if (activation == "relu6") {
    const float six = std::round(6.0f / output.scale.at(0));
    if (six < 255.0f) range.high = std::min(range.high, zero + static_cast<int32_t>(six));
  }
  return range;
}

Requantizer requantizer(double multiplier, const QParams& output, CodeRange range) {
  const FixedMultiplier fixed = fixed_multiplier(multiplier);
  return {static_cast<float>(multiplier), rounding_offset(fixed), fixed, output.zero_point.at(0),
          range};
}

void requantize(const int32_t* sums, int8_t* codes, size_t n,
                const std::vector<Requantizer>& requantizers, bool exact) {
  for (size_t i = 0, c = 0; i < n; ++i, c = c + 1 == requantizers.size() ? 0 : c + 1) {
    codes[i] =
        static_cast<int8_t>(exact ? requantizers[c].exact(sums[i]) : requantizers[c].fast(sums[i]));
  }
}

CodeAdder code_adder(const QParams& a, const QParams& b, const QParams& output, bool subtract,
                     CodeRange range) {
  const double scale_a = a.scale.at(0);
  const double scale_b = b.scale.at(0);
  const double scale = output.scale.at(0);
  const double twice_larger = 2 * std::max(scale_a, scale_b);
  return {a.zero_point.at(0),
          b.zero_point.at(0),
          subtract ? -1 : 1,
          static_cast<float>(scale_a / scale),
          static_cast<float>(scale_b / scale),
          fixed_multiplier(scale_a / twice_larger),
          fixed_multiplier(scale_b / twice_larger),
          requantizer(twice_larger / (0x1p20 * scale), output, range)};
}

Requantizer mean_requantizer(const QParams& input, const QParams& output, int64_t count) {
  TERSOR_CHECK(count > 0, "mean: number of values must be positive, got ", count);
  const double ratio = requantize_multiplier(input.scale.at(0), 1, output.scale.at(0));
  Requantizer result = requantizer(ratio / static_cast<double>(count), output);
  const FixedMultiplier whole = fixed_multiplier(ratio);
  // The largest power of two not above the count goes into the shift; 31 bits stay in the mantissa.
  const int log2_count = 63 - std::countl_zero(static_cast<uint64_t>(count));
  const int spare = std::min({log2_count, 32, 31 + whole.shift});
  result.fixed = {static_cast<int32_t>((static_cast<int64_t>(whole.mantissa) << spare) / count),
                  whole.shift - spare};
  result.rounding_offset = rounding_offset(result.fixed);
  return result;
}

std::array<uint32_t, 256> softmax_table(float scale) {
  std::array<uint32_t, 256> table{};
  for (int d = 0; d < 256; ++d) {
    table[static_cast<size_t>(d)] =
        static_cast<uint32_t>(std::nearbyint(0x1p23 * std::exp(-static_cast<double>(scale) * d)));
  }
  return table;
}

}  // namespace tersor::quantization
