#include <cuda_runtime.h>

#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/quantization/cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

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

template <class C>
struct Codes;
template <>
struct Codes<std::uint8_t> {
  using Vector = uint2;
};
template <>
struct Codes<std::uint16_t> {
  using Vector = uint4;
};

template <class F, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    cast_to_kernel(const float* x, typename F::Code* y, std::uint64_t n) {
  using Code = typename F::Code;
  const std::uint64_t vectors = (n + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const auto count = static_cast<unsigned>(n - first < 8 ? n - first : std::uint64_t{8});
    float values[8] = {};
    if (kVectors && count == 8) {
      cuda::load8(x + first, values);
    } else {
      cuda::load_some(x + first, count, values);
    }
    alignas(16) Code codes[8];
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) codes[k] = narrowed<F>(values[k]);
    if (kVectors && count == 8) {
      using Vector = typename Codes<Code>::Vector;
      *reinterpret_cast<Vector*>(y + first) = *reinterpret_cast<const Vector*>(codes);
    } else {
#pragma unroll
      for (unsigned k = 0; k < 8; ++k) {
        if (k < count) y[first + k] = codes[k];
      }
    }
  }
}

template <class F, bool kVectors>
__global__ void __launch_bounds__(kThreads)
    cast_from_kernel(const typename F::Code* x, float* y, std::uint64_t n) {
  using Code = typename F::Code;
  const std::uint64_t vectors = (n + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const auto count = static_cast<unsigned>(n - first < 8 ? n - first : std::uint64_t{8});
    alignas(16) Code codes[8] = {};
    if (kVectors && count == 8) {
      using Vector = typename Codes<Code>::Vector;
      *reinterpret_cast<Vector*>(codes) = *reinterpret_cast<const Vector*>(x + first);
    } else {
#pragma unroll
      for (unsigned k = 0; k < 8; ++k) {
        if (k < count) codes[k] = x[first + k];
      }
    }
    float values[8];
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) values[k] = widened<F>(codes[k]);
    if (kVectors && count == 8) {
      cuda::store8(y + first, values);
    } else {
      cuda::store_some(y + first, count, values);
    }
  }
}

template <class Call>
void with_format(FloatFormat format, Call&& call) {
  switch (format) {
    case FloatFormat::float16:
      return call(Half{});
    case FloatFormat::bfloat16:
      return call(BFloat{});
    case FloatFormat::float8_e4m3:
      return call(E4M3{});
    case FloatFormat::float8_e5m2:
      return call(E5M2{});
  }
}

}  // namespace

void cast_to_cuda(const float* x, void* y, std::size_t n, FloatFormat format, Stream stream) {
  with_format(format, [&](auto f) {
    using F = decltype(f);
    const bool vectors = cuda::aligned(x, 16) && cuda::aligned(y, 16);
    cuda::Grid grid;
    grid.blocks.x = cuda::blocks_for((n + 7) / 8);
    grid.stream = stream;
    cuda::launch("cast", grid, vectors ? cast_to_kernel<F, true> : cast_to_kernel<F, false>, x,
                 static_cast<typename F::Code*>(y), std::uint64_t{n});
  });
}

void cast_from_cuda(const void* x, float* y, std::size_t n, FloatFormat format, Stream stream) {
  with_format(format, [&](auto f) {
    using F = decltype(f);
    const bool vectors = cuda::aligned(x, 16) && cuda::aligned(y, 16);
    cuda::Grid grid;
    grid.blocks.x = cuda::blocks_for((n + 7) / 8);
    grid.stream = stream;
    cuda::launch("cast", grid, vectors ? cast_from_kernel<F, true> : cast_from_kernel<F, false>,
                 static_cast<const typename F::Code*>(x), y, std::uint64_t{n});
  });
}

}  // namespace tersor::quantization
