#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/scales_cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kThreads;

// The bits of a code; NaN is the zero point.
__device__ std::uint8_t code_of(float x, const ScaleTerms& t) {
  // A true division: x * (1 / scale) moves codes.
  const float v = x / t.scale + t.zero;
  const float r = isnan(v) ? t.zero : v;
  const float code = rintf(fminf(fmaxf(r, t.low), t.high)) + t.taken;
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(code));
}

__device__ float value_of(std::int32_t code, const ScaleTerms& t) {
  return (static_cast<float>(code) - (t.zero + t.taken)) * t.scale;
}

// Codes of 4 bits, the first in the lowest bits: eight are a word.
template <bool kVectors>
__device__ void store_nibbles(std::uint8_t* p, unsigned count, const std::uint8_t (&codes)[8]) {
  std::uint32_t word = 0;
#pragma unroll
  for (unsigned k = 0; k < 8; ++k) word |= (codes[k] & 15u) << (4 * k);
  if (kVectors && count == 8) {
    *reinterpret_cast<std::uint32_t*>(p) = word;
    return;
  }
#pragma unroll
  for (unsigned b = 0; b < 4; ++b) {
    if (2 * b < count) p[b] = static_cast<std::uint8_t>(word >> (8 * b));
  }
}
template <bool kVectors>
__device__ void load_nibbles(const std::uint8_t* p, unsigned count, std::uint8_t (&codes)[8]) {
  std::uint32_t word = 0;
  if (kVectors && count == 8) {
    word = *reinterpret_cast<const std::uint32_t*>(p);
  } else {
#pragma unroll
    for (unsigned b = 0; b < 4; ++b) {
      if (2 * b < count) word |= static_cast<std::uint32_t>(p[b]) << (8 * b);
    }
  }
#pragma unroll
  for (unsigned k = 0; k < 8; ++k) codes[k] = static_cast<std::uint8_t>(word >> (4 * k) & 15u);
}

template <class T, Scales kSharing, bool kVectors, bool kInt4>
__global__ void __launch_bounds__(kThreads)
    quantize_kernel(const T* x, std::uint8_t* q, DeviceLayout layout, DeviceQuantizer p) {
  const ScaleTerms common = terms_of(p, 0);
  const std::uint64_t vectors = (layout.size + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const unsigned count = cuda::vector_size(layout.size, v);
    float values[8] = {};
    cuda::load_vector<kVectors>(x + first, count, values);
    std::uint8_t codes[8] = {};
    for_vector<kSharing>(layout, p, common, first, count, [&](unsigned k, const ScaleTerms& t) {
      codes[k] = code_of(values[k], t);
    });
    if constexpr (kInt4) {
      store_nibbles<kVectors>(q + first / 2, count, codes);
    } else {
      cuda::store_vector<kVectors>(q + first, count, codes);
    }
  }
}

template <class T, Scales kSharing, bool kVectors, bool kInt4>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(const std::uint8_t* q, T* y, DeviceLayout layout, DeviceQuantizer p,
                      bool is_unsigned) {
  const ScaleTerms common = terms_of(p, 0);
  const std::uint64_t vectors = (layout.size + 7) / 8;
  for (std::uint64_t v = blockIdx.x * std::uint64_t{blockDim.x} + threadIdx.x; v < vectors;
       v += std::uint64_t{gridDim.x} * blockDim.x) {
    const std::uint64_t first = 8 * v;
    const unsigned count = cuda::vector_size(layout.size, v);
    std::uint8_t codes[8] = {};
    if constexpr (kInt4) {
      load_nibbles<kVectors>(q + first / 2, count, codes);
    } else {
      cuda::load_vector<kVectors>(q + first, count, codes);
    }
    float values[8] = {};
    for_vector<kSharing>(layout, p, common, first, count, [&](unsigned k, const ScaleTerms& t) {
      std::int32_t code = codes[k];
      if (!is_unsigned) {
        code = kInt4 ? (code ^ 8) - 8 : static_cast<std::int32_t>(static_cast<std::int8_t>(code));
      }
      values[k] = value_of(code, t);
    });
    cuda::store_vector<kVectors>(y + first, count, values);
  }
}

template <bool kInt4>
void quantize(const char* op, const void* x, Number type, std::uint8_t* q, const AffineShape& shape,
              const DeviceQuantizer& p, Stream stream) {
  const DeviceLayout layout(shape);
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    with_sharing(layout.sharing(), [&](auto sharing) {
      constexpr Scales kSharing = decltype(sharing)::value;
      const bool vectors = cuda::aligned(x, 16) && cuda::aligned(q, 8);
      auto* kernel = vectors ? quantize_kernel<T, kSharing, true, kInt4>
                             : quantize_kernel<T, kSharing, false, kInt4>;
      cuda::Grid grid;
      grid.blocks.x = cuda::blocks_for((layout.size + 7) / 8);
      grid.stream = stream;
      cuda::launch(op, grid, kernel, static_cast<const T*>(x), q, layout, p);
    });
  });
}

template <bool kInt4>
void dequantize(const char* op, const std::uint8_t* q, void* y, Number type,
                const AffineShape& shape, const DeviceQuantizer& p, bool is_unsigned,
                Stream stream) {
  const DeviceLayout layout(shape);
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    with_sharing(layout.sharing(), [&](auto sharing) {
      constexpr Scales kSharing = decltype(sharing)::value;
      const bool vectors = cuda::aligned(y, 16) && cuda::aligned(q, 8);
      auto* kernel = vectors ? dequantize_kernel<T, kSharing, true, kInt4>
                             : dequantize_kernel<T, kSharing, false, kInt4>;
      cuda::Grid grid;
      grid.blocks.x = cuda::blocks_for((layout.size + 7) / 8);
      grid.stream = stream;
      cuda::launch(op, grid, kernel, q, static_cast<T*>(y), layout, p, is_unsigned);
    });
  });
}

}  // namespace

void quantize_affine_cuda(const void* x, Number type, std::uint8_t* q, const AffineShape& shape,
                          const DeviceQuantizer& p, Stream stream) {
  TERSOR_CHECK(p.lo <= p.hi && ((-128 <= p.lo && p.hi <= 127) || (0 <= p.lo && p.hi <= 255)),
               "quantize: lo and hi must satisfy -128 <= lo <= hi <= 127 or 0 <= lo <= hi <= 255, "
               "got ",
               p.lo, " and ", p.hi);
  quantize<false>("quantize", x, type, q, shape, p, stream);
}

void dequantize_affine_cuda(const std::uint8_t* q, void* y, Number type, const AffineShape& shape,
                            const DeviceQuantizer& p, bool is_unsigned, Stream stream) {
  dequantize<false>("dequantize", q, y, type, shape, p, is_unsigned, stream);
}

void quantize_int4_cuda(const void* x, Number type, std::uint8_t* packed, const AffineShape& shape,
                        const DeviceQuantizer& p, Stream stream) {
  TERSOR_CHECK(p.lo <= p.hi && ((-8 <= p.lo && p.hi <= 7) || (0 <= p.lo && p.hi <= 15)),
               "quantize_packed: lo and hi must be codes of 4 bits, got ", p.lo, " and ", p.hi);
  quantize<true>("quantize_packed", x, type, packed, shape, p, stream);
}

void dequantize_int4_cuda(const std::uint8_t* packed, void* y, Number type,
                          const AffineShape& shape, const DeviceQuantizer& p, Stream stream) {
  dequantize<true>("dequantize_packed", packed, y, type, shape, p, p.lo >= 0, stream);
}

}  // namespace tersor::quantization
