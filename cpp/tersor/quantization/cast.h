// float32 to and from the narrow float formats, as ml_dtypes (and NumPy for float16) define them.
//
//   format   bits of exponent, mantissa   largest    beyond it   smallest subnormal
//   float16       5, 10                   65504      infinity    2^-24
//   bfloat16      8, 7                    3.39e38    infinity    2^-133
//   float8_e4m3   4, 3 (e4m3fn)           448        NaN         2^-9       no infinity
//   float8_e5m2   5, 2                    57344      infinity    2^-16
//
// To the narrow format: round to nearest, ties to even; "beyond" is what rounds to more than the
// largest number; -0 stays. NaN becomes a quiet NaN of the same sign (float16 keeps the leading
// bits of its payload, the others have one). Back: exact; a NaN of 8 bits becomes the quiet NaN of
// its sign. Every variant is bit-exact with cast_ref.cpp. Buffers may not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tersor/base/export.h"
#include "tersor/tensor/dtype.h"

namespace tersor::quantization {

using to_float16_sig = void(const float* x, std::uint16_t* y, std::size_t n) noexcept;
using from_float16_sig = void(const std::uint16_t* x, float* y, std::size_t n) noexcept;
using to_bfloat16_sig = void(const float* x, std::uint16_t* y, std::size_t n) noexcept;
using from_bfloat16_sig = void(const std::uint16_t* x, float* y, std::size_t n) noexcept;
using to_float8_e4m3_sig = void(const float* x, std::uint8_t* y, std::size_t n) noexcept;
using from_float8_e4m3_sig = void(const std::uint8_t* x, float* y, std::size_t n) noexcept;
using to_float8_e5m2_sig = void(const float* x, std::uint8_t* y, std::size_t n) noexcept;
using from_float8_e5m2_sig = void(const std::uint8_t* x, float* y, std::size_t n) noexcept;

enum class FloatFormat : std::uint8_t { float16, bfloat16, float8_e4m3, float8_e5m2 };
TERSOR_API std::size_t size_of(FloatFormat format);
// "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"; ValueError lists them.
TERSOR_API FloatFormat float_format_from_name(const std::string& name);

// On the pool.
TERSOR_API void cast_to(const float* x, void* y, std::size_t n, FloatFormat format);
TERSOR_API void cast_from(const void* x, float* y, std::size_t n, FloatFormat format);

}  // namespace tersor::quantization
