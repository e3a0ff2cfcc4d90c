// Narrow floats in kernels: the bits that cast.h defines. Private to the room.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace tersor::quantization {

// A narrow format by its fields; codes without the sign. NaN: what NaN becomes; beyond: what
// overflows.
template <class C, int kExponent, int kMantissa, std::uint32_t kLargest, std::uint32_t kBeyond,
          std::uint32_t kNan>
struct Format {
  using Code = C;
  static constexpr int exponent = kExponent, mantissa = kMantissa;
  static constexpr int bias = (1 << (kExponent - 1)) - 1;
  static constexpr std::uint32_t largest = kLargest, beyond = kBeyond, nan = kNan;
  static constexpr int sign_shift = 8 * sizeof(C) - 1;
};
using Half = Format<std::uint16_t, 5, 10, 0x7bff, 0x7c00, 0x7e00>;
using BFloat = Format<std::uint16_t, 8, 7, 0x7f7f, 0x7f80, 0x7fc0>;
using E4M3 = Format<std::uint8_t, 4, 3, 0x7e, 0x7f, 0x7f>;
using E5M2 = Format<std::uint8_t, 5, 2, 0x7b, 0x7c, 0x7e>;

template <class F>
__device__ typename F::Code narrowed(float x) {
  constexpr int kDropped = 23 - F::mantissa;
  const std::uint32_t u = __float_as_uint(x);
  const std::uint32_t sign = u >> 31 << F::sign_shift;
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    std::uint32_t code = F::nan;
    // float16 keeps the leading bits of the payload.
    if constexpr (F::mantissa == 10) code |= magnitude >> kDropped & 0x1ffu;
    return static_cast<typename F::Code>(sign | code);
  }
  std::uint32_t code;
  constexpr std::uint32_t kFirstNormal = static_cast<std::uint32_t>(128 - F::bias) << 23;
  if (F::exponent < 8 && magnitude < kFirstNormal) {
    // Adding a number whose last place is the subnormal step rounds to whole steps, ties to even.
    constexpr std::uint32_t kStep = static_cast<std::uint32_t>(128 - F::bias + kDropped) << 23;
    code = __float_as_uint(__uint_as_float(magnitude) + __uint_as_float(kStep)) - kStep;
  } else {
    const std::uint32_t half = (1u << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1u);
    code = (magnitude + half) >> kDropped;
    if constexpr (F::exponent < 8) {
      code -= static_cast<std::uint32_t>(127 - F::bias) << F::mantissa;
    }
    if (code > F::largest) code = F::beyond;
  }
  return static_cast<typename F::Code>(sign | code);
}

template <class F>
__device__ float widened(typename F::Code x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x) >> F::sign_shift << 31;
  const std::uint32_t code = x & ((1u << F::sign_shift) - 1);
  std::uint32_t bits;
  if (code > F::largest) {
    // Infinity where the format has one; a NaN of 16 bits keeps its payload.
    if (code == F::beyond && F::beyond != F::nan) {
      bits = 0x7f800000u;
    } else if constexpr (sizeof(typename F::Code) == 2) {
      bits = 0x7f800000u | code << (23 - F::mantissa);
      if constexpr (F::exponent == 5) bits |= 0x00400000u;
    } else {
      bits = 0x7fc00000u;
    }
  } else if (F::exponent < 8 && code < (1u << F::mantissa)) {
    // Subnormal: whole steps. Their number is exact in float, and so is the product.
    constexpr std::uint32_t kStep = static_cast<std::uint32_t>(128 - F::bias - F::mantissa) << 23;
    bits = __float_as_uint(static_cast<float>(code) * __uint_as_float(kStep));
  } else {
    bits = (code << (23 - F::mantissa)) +
           (F::exponent < 8 ? static_cast<std::uint32_t>(127 - F::bias) << 23 : 0u);
  }
  return __uint_as_float(sign | bits);
}

}  // namespace tersor::quantization
