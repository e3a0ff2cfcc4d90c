// Loads and stores of whole vectors: 16 bytes at a time where memory allows.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "tersor/cuda/stream.h"

namespace tersor::cuda {

// bfloat16 as bits, so that no header of another version is needed.
struct BFloat16 {
  std::uint16_t bits;
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(BFloat16 x) {
  return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16);
}
// Round to nearest, ties to even; NaN becomes the quiet NaN of its sign.
__device__ inline std::uint32_t bfloat16_bits(float x) {
  const std::uint32_t u = __float_as_uint(x);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return (u & 0x7fffffffu) > 0x7f800000u ? (u >> 16 & 0x8000u) | 0x7fc0u : rounded;
}
__device__ inline void from_float(float x, float& y) { y = x; }
__device__ inline void from_float(float x, BFloat16& y) {
  y.bits = static_cast<std::uint16_t>(bfloat16_bits(x));
}

// Eight elements; p is aligned to 16 bytes (8 for codes).
__device__ inline void load8(const float* p, float (&x)[8]) {
  const float4 a = *reinterpret_cast<const float4*>(p);
  const float4 b = *reinterpret_cast<const float4*>(p + 4);
  x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
  x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}
__device__ inline void widen2(std::uint32_t pair, float& low, float& high) {
  low = __uint_as_float(pair << 16);
  high = __uint_as_float(pair & 0xffff0000u);
}
__device__ inline void widen8(const uint4& a, float (&x)[8]) {
  widen2(a.x, x[0], x[1]);
  widen2(a.y, x[2], x[3]);
  widen2(a.z, x[4], x[5]);
  widen2(a.w, x[6], x[7]);
}
__device__ inline void load8(const BFloat16* p, float (&x)[8]) {
  widen8(*reinterpret_cast<const uint4*>(p), x);
}
__device__ inline std::uint32_t narrow2(float low, float high) {
  return bfloat16_bits(low) | bfloat16_bits(high) << 16;
}
__device__ inline void store8(float* p, const float (&x)[8]) {
  *reinterpret_cast<float4*>(p) = make_float4(x[0], x[1], x[2], x[3]);
  *reinterpret_cast<float4*>(p + 4) = make_float4(x[4], x[5], x[6], x[7]);
}
__device__ inline void store8(BFloat16* p, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(p) = make_uint4(narrow2(x[0], x[1]), narrow2(x[2], x[3]),
                                            narrow2(x[4], x[5]), narrow2(x[6], x[7]));
}
// Bytes of eight elements as two words, the first element lowest.
__device__ inline void load8(const std::uint8_t* p, std::uint8_t (&x)[8]) {
  const uint2 a = *reinterpret_cast<const uint2*>(p);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i] = static_cast<std::uint8_t>(a.x >> (8 * i));
    x[4 + i] = static_cast<std::uint8_t>(a.y >> (8 * i));
  }
}
__device__ inline void store8(std::uint8_t* p, const std::uint8_t (&x)[8]) {
  uint2 a = make_uint2(0, 0);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    a.x |= static_cast<std::uint32_t>(x[i]) << (8 * i);
    a.y |= static_cast<std::uint32_t>(x[4 + i]) << (8 * i);
  }
  *reinterpret_cast<uint2*>(p) = a;
}

// Up to eight elements from anywhere; the others are left alone.
template <class T, class U>
__device__ inline void load_some(const T* p, unsigned n, U (&x)[8]) {
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) {
    if (i < n) {
      if constexpr (sizeof(U) == 1) {
        x[i] = p[i];
      } else {
        x[i] = to_float(p[i]);
      }
    }
  }
}
template <class T, class U>
__device__ inline void store_some(T* p, unsigned n, const U (&x)[8]) {
#pragma unroll
  for (unsigned i = 0; i < 8; ++i) {
    if (i < n) {
      if constexpr (sizeof(U) == 1) {
        p[i] = x[i];
      } else {
        from_float(x[i], p[i]);
      }
    }
  }
}

// Elements of a vector of which `count` are there: at once where it is whole and p is aligned,
// which kVectors says.
template <bool kVectors, class T, class U>
__device__ inline void load_vector(const T* p, unsigned count, U (&x)[8]) {
  if (kVectors && count == 8) {
    load8(p, x);
  } else {
    load_some(p, count, x);
  }
}
template <bool kVectors, class T, class U>
__device__ inline void store_vector(T* p, unsigned count, const U (&x)[8]) {
  if (kVectors && count == 8) {
    store8(p, x);
  } else {
    store_some(p, count, x);
  }
}
// How many elements vector number v of n elements has.
__device__ inline unsigned vector_size(std::uint64_t n, std::uint64_t v) {
  return static_cast<unsigned>(n - 8 * v < 8 ? n - 8 * v : std::uint64_t{8});
}

// Calls f with a pointer of the type that `number` says.
template <class F>
void with_number(Number number, F&& f) {
  if (number == Number::bfloat16) {
    f(BFloat16{});
  } else {
    f(float{});
  }
}

}  // namespace tersor::cuda
