// y[m, o] = sum over k of x[m, k] * w[o, k] through cuBLASLt, the product in front of a dense
// layer's scales: int8 with exact int32 sums, or float8 (e4m3) with float32 sums.
#pragma once

#include <cstddef>

#include "tersor/cuda/stream.h"

namespace tersor::cuda {

// x [rows][inputs], w [outputs][inputs], y [rows][outputs], without gaps, aligned to 16 bytes, of
// the current device. inputs and outputs are multiples of 16 (what the tensor cores want).
struct Product {
  enum class Result { int32, float32, bfloat16 };  // int32 of int8, the others of float8
  std::size_t rows = 0, outputs = 0, inputs = 0;
  bool float8 = false;
  Result result = Result::int32;
  const void* x = nullptr;
  const void* w = nullptr;
  void* y = nullptr;
  // Of float8: numbers in device memory that the product is multiplied by, or null.
  const float* x_scale = nullptr;
  const float* w_scale = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

// Enough for every algorithm that splits the sums on Hopper, where the library's advice is 32 MiB.
inline constexpr std::size_t kProductWorkspace = std::size_t{32} << 20;

// Enqueues. The algorithm is the first of the library's heuristic, or with `timed` the fastest of
// its first 16, measured at the first call of this shape on this device, which then waits; it is
// remembered either way. DeviceError where the device or the library has no such product (float8
// needs compute capability 8.9), or cublaslt::load was not called.
void product_cuda(const Product& product, bool timed, Stream stream);

// What the last call of this shape on the current device measured: the milliseconds of the
// heuristic's first algorithm and of the fastest; both 0 where nothing was timed.
struct ProductTimes {
  float first = 0, best = 0;
  int candidates = 0;
};
ProductTimes product_times(const Product& product);

}  // namespace tersor::cuda
