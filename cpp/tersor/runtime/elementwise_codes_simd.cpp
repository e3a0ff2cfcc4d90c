// Compiled once per instruction set, so everything here but the kernels is static.
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

constexpr float kRound =
    12582912.0f;  // 1.5 * 2^23: v + kRound holds round-half-even(v) in its low bits
constexpr int32_t kRoundBits = 0x4B400000;

struct FastCodes {
  float low, high;
  int32_t zero_point;
  explicit FastCodes(const quantization::Requantizer& r)
      : low(static_cast<float>(r.range.low - r.zero_point)),
        high(static_cast<float>(r.range.high - r.zero_point)),
        zero_point(r.zero_point - kRoundBits) {}
  // A sum of scaled codes: CodeAdder::fast.
  inline int8_t operator()(float v) const {
    const float above = v < low ? low : v;
    const float bounded = above > high ? high : above;
    return static_cast<int8_t>(__builtin_bit_cast(int32_t, bounded + kRound) + zero_point);
  }
};

// Requantizer::fast.
struct FastProduct {
  FastCodes codes;
  float multiplier, rounding_offset;
  explicit FastProduct(const quantization::Requantizer& r)
      : codes(r), multiplier(r.multiplier), rounding_offset(r.rounding_offset) {}
  inline int8_t operator()(float sum) const {
    const float v = sum * multiplier;
    return codes(v + __builtin_copysignf(rounding_offset, v));
  }
};

// c99::tersor_scale without branches: multiply_high is an arithmetic shift because
// trunc((ab + nudge) / 2^31) = floor((ab + 2^30) / 2^31) for either sign; mantissas are never
// INT32_MIN.
struct ExactScale {
  int32_t mantissa, left, right, mask, half;
  explicit ExactScale(const quantization::FixedMultiplier& m)
      : mantissa(m.mantissa),
        left(m.shift > 0 ? m.shift : 0),
        right(m.shift > 0 ? 0 : -m.shift),
        mask(static_cast<int32_t>((int64_t{1} << right) - 1)),
        half(mask >> 1) {}
  inline int32_t operator()(int32_t x) const {
    const auto shifted = static_cast<int32_t>(static_cast<uint32_t>(x) << left);
    const int64_t product = static_cast<int64_t>(shifted) * mantissa + (1 << 30);
    const auto high = static_cast<int32_t>(static_cast<uint64_t>(product) >> 31);
    const int32_t threshold = half - (high >> 31);  // one more for negative values
    return (high >> right) + ((high & mask) > threshold ? 1 : 0);
  }
};

struct ExactCodes {
  ExactScale scale;
  int32_t zero_point, low, high;
  explicit ExactCodes(const quantization::Requantizer& r)
      : scale(r.fixed), zero_point(r.zero_point), low(r.range.low), high(r.range.high) {}
  inline int8_t operator()(int32_t sum) const {
    const int32_t code = scale(sum) + zero_point;
    const int32_t above = code < low ? low : code;
    return static_cast<int8_t>(above > high ? high : above);
  }
};

template <int kA, int kB, class F>
inline void rows_of(const CodeOperands& o, F f) {
  const size_t columns = o.columns;
  for (size_t r = 0; r < o.rows; ++r) {
    const int8_t* a = o.a + static_cast<ptrdiff_t>(r) * o.a_row;
    const int8_t* b = o.b + static_cast<ptrdiff_t>(r) * o.b_row;
    int8_t* y = o.y + r * columns;
#pragma GCC ivdep
    for (size_t c = 0; c < columns; ++c) y[c] = f(a[kA ? c : 0], b[kB ? c : 0]);
  }
}

template <class F>
inline void combine(const CodeOperands& o, F f) {
  if (o.a_step && o.b_step) {
    rows_of<1, 1>(o, f);
  } else if (o.a_step) {
    rows_of<1, 0>(o, f);
  } else if (o.b_step) {
    rows_of<0, 1>(o, f);
  } else {
    rows_of<0, 0>(o, f);
  }
}

}  // namespace

void TERSOR_SIMD_NAME(add_codes)(const CodeOperands& operands, const quantization::CodeAdder& adder,
                                 bool exact) noexcept {
  const int32_t zero_a = adder.zero_point_a, zero_b = adder.zero_point_b, sign = adder.sign;
  if (exact) {
    const ExactScale scale_a(adder.fixed_a), scale_b(adder.fixed_b);
    const ExactCodes codes(adder.output);
    return combine(operands, [=](int32_t a, int32_t b) {
      return codes(scale_a((a - zero_a) * (1 << 20)) + sign * scale_b((b - zero_b) * (1 << 20)));
    });
  }
  // m * -b = -(m * b): the sign may go into the multiplier.
  const float multiplier_a = adder.multiplier_a;
  const float multiplier_b = sign > 0 ? adder.multiplier_b : -adder.multiplier_b;
  const FastCodes codes(adder.output);
  combine(operands, [=](int32_t a, int32_t b) {
    return codes(multiplier_a * static_cast<float>(a - zero_a) +
                 multiplier_b * static_cast<float>(b - zero_b));
  });
}

void TERSOR_SIMD_NAME(mul_codes)(const CodeOperands& operands, int32_t zero_a, int32_t zero_b,
                                 const quantization::Requantizer& requantizer,
                                 bool exact) noexcept {
  if (exact) {
    const ExactCodes codes(requantizer);
    return combine(operands,
                   [=](int32_t a, int32_t b) { return codes((a - zero_a) * (b - zero_b)); });
  }
  const FastProduct codes(requantizer);
  combine(operands, [=](int32_t a, int32_t b) {
    return codes(static_cast<float>((a - zero_a) * (b - zero_b)));
  });
}

void TERSOR_SIMD_NAME(requantize_sums)(const int32_t* __restrict sums, int8_t* __restrict y,
                                       size_t n, int32_t offset,
                                       const quantization::Requantizer& requantizer,
                                       bool exact) noexcept {
  if (exact) {
    const ExactCodes codes(requantizer);
    for (size_t i = 0; i < n; ++i) y[i] = codes(sums[i] - offset);
    return;
  }
  const FastProduct codes(requantizer);
  for (size_t i = 0; i < n; ++i) y[i] = codes(static_cast<float>(sums[i] - offset));
}

void TERSOR_SIMD_NAME(average_sums)(const int32_t* __restrict sums, int8_t* __restrict y, size_t n,
                                    int32_t offset, int32_t count) noexcept {
  // Doubles hold the numerator, and a quotient that is no integer is at least 1 / count away from
  // one: the rounded quotient truncates as the integer division does.
  const double divisor = count;
  const int32_t half = count / 2;
  for (size_t i = 0; i < n; ++i) {
    const int32_t sum = sums[i] + offset;
    const double numerator = sum > 0 ? sum + half : sum - half;
    y[i] = static_cast<int8_t>(static_cast<int32_t>(numerator / divisor));
  }
}

void TERSOR_SIMD_NAME(map_codes)(const int8_t* x, int8_t* y, size_t n,
                                 const int8_t* table) noexcept {
  size_t i = 0;
  // Eight codes by one load: byte loads and stores are the limit of this loop.
  for (; i + 8 <= n; i += 8) {
    uint64_t in, out = 0;
    __builtin_memcpy(&in, x + i, 8);
    in ^= 0x8080808080808080u;
    for (int j = 0; j < 8; ++j)
      out |= static_cast<uint64_t>(static_cast<uint8_t>(table[(in >> (8 * j)) & 255])) << (8 * j);
    __builtin_memcpy(y + i, &out, 8);
  }
  for (; i < n; ++i) y[i] = table[x[i] + 128];
}

}  // namespace tersor::runtime
