// Vectors of the instruction set that the including file is compiled for. For the *_simd.cpp files
// of this room only: everything has internal linkage, since each copy is compiled with other flags.
#pragma once

#include <stddef.h>
#include <stdint.h>

#pragma GCC diagnostic ignored "-Wpsabi"

#if defined(__AVX512F__)
#define TERSOR_LANE_BYTES 64
#elif defined(__AVX2__)
#define TERSOR_LANE_BYTES 32
#else
#define TERSOR_LANE_BYTES 16
#endif

namespace tersor::codebook {
namespace {

constexpr size_t kLanes = TERSOR_LANE_BYTES / 4;
typedef float F32 __attribute__((vector_size(TERSOR_LANE_BYTES)));
typedef int32_t I32 __attribute__((vector_size(TERSOR_LANE_BYTES)));

}  // namespace
}  // namespace tersor::codebook
