// Dense layers with int8 weights whose float input is quantized in the call, row by row.
//
//   lo = min(0, min_k x[m, k]),  hi = max(0, max_k x[m, k])
//   s = max((hi - lo) / 255, 2^-126), or 1 where hi = lo
//   z = clamp(rint(-128 - lo / s), -128, 127),  q[k] = clamp(rint(x[m, k] / s) + z, -128, 127)
//   y[m, o] = act(float(sum over k of (q[k] - z) * code[o, k]) * (s * scale[o]) + bias[o])
//
// in float32, rint to even, sums in int32: every variant gives the same bits. Each row has its own
// range, so that a result does not depend on what else is in the batch, and all 256 codes, because
// what follows a ReLU has no negative half. A row with NaN or an infinity, or a range beyond
// float32, gives NaN.
//
// A DenseDynamic is immutable; run() may be called concurrently with different scratch.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "tersor/base/export.h"

namespace tersor::quantization {

struct DenseDynamicWeights {
  int64_t outputs = 1, inputs = 1;
  const int8_t* codes = nullptr;                        // [outputs][inputs], in [-127, 127]
  const float* scale = nullptr;                         // [outputs]
  const float* bias = nullptr;                          // [outputs], or nullptr
  float low = -std::numeric_limits<float>::infinity();  // act: clamp to [low, high], NaN stays
  float high = std::numeric_limits<float>::infinity();
};

enum class DenseDynamicAlgorithm : uint8_t {
  automatic,
  pairs,  // int16 pairs
  bytes,  // uint8 x int8 quads: the choice where the CPU has VNNI
};

// Beyond this 255 * 128 * inputs could leave int32.
inline constexpr int64_t kMostDynamicInputs = (int64_t{1} << 31) / (255 * 128);

class TERSOR_API DenseDynamic {
 public:
  // Packs. ValueError if a size is not positive or inputs are more than kMostDynamicInputs.
  // Only time depends on the algorithm.
  explicit DenseDynamic(const DenseDynamicWeights& weights,
                        DenseDynamicAlgorithm algorithm = DenseDynamicAlgorithm::automatic);
  ~DenseDynamic();
  DenseDynamic(DenseDynamic&&) noexcept;

  // x [rows, inputs], y [rows, outputs]. scratch: scratch_bytes(rows), 64-byte aligned.
  void run(const float* x, int64_t rows, float* y, void* scratch, int threads) const;

  size_t scratch_bytes(int64_t rows) const;
  size_t packed_bytes() const;
  int64_t inputs() const;
  int64_t outputs() const;
  const char* kernel() const;  // such as "dense_dynamic conv_int8_direct simd_avx2"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tersor::quantization
