// Codebooks on a CUDA device: the layer of lookup_dense.h, and the passes over the values of
// one-dimensional k-means. Functions enqueue on the stream; pointers are device pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/cuda/stream.h"

namespace tersor::codebook {

// Weights of 4 bits as gemv_int4.h says, each an index of one of up to 16 numbers.
struct DeviceLookup {
  const std::uint8_t* codes = nullptr;  // [outputs][inputs / 2], aligned to 16 bytes
  std::size_t outputs = 0, inputs = 0;
  const float* tables = nullptr;  // [ceil(outputs / group)][16], unused entries 0
  std::size_t group = 0;          // outputs that share a table; 0: all
  const float* bias = nullptr;    // [outputs], or null
  float low = 0, high = 0;
};
void lookup_dense_cuda(const DeviceLookup& layer, const void* x, cuda::Number type,
                       std::size_t rows, float* y, cuda::Stream stream);

// The leading 18 bits of a float name its bin: counts[bin] += 1 << 40 | the other 14. Integers, so
// exact in any order, for fewer than 2^24 values a call. *bad != 0 where one is not finite. With
// skip_zeros, zeros count nothing.
inline constexpr std::size_t kFloatBins = std::size_t{1} << 18;
inline constexpr int kBinRestBits = 14;
inline constexpr std::size_t kMostCounted = (std::size_t{1} << 24) - 1;
void count_floats_cuda(const float* x, std::size_t n, bool skip_zeros, std::uint64_t* counts,
                       std::int32_t* bad, cuda::Stream stream);

// codes[i] = number of `thresholds` (ascending) below x[i], plus 1 from code `zero` on; a zero gets
// code `zero`. zero = -1: zeros are values like others. *error = sum of (x - centroid)^2.
void assign_cuda(const float* x, std::size_t n, const float* thresholds, int count,
                 const float* centroids, int zero, std::uint8_t* codes, double* error,
                 cuda::Stream stream);

}  // namespace tersor::codebook
