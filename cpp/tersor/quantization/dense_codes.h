// Dense layers with low-bit weights and float activations, for few rows of input: the weights stay
// codes in memory, which is what such a layer waits for.
//
//   y[m, o] = act(bias[o] + sum over k of x[m, k] * scale[o, k / group] *
//                                         (code[o, k] - zero_point[o, k / group]))
//
// Codes of up to 4 bits are kept in 4, wider ones in 8. Sums are float32 in a fixed order that
// depends on the instruction set only: not on the number of rows or threads. Variants differ by
//   |error| <= (inputs + 8) * 2^-23 * sum over k of |x * scale| * (15 + |zero_point|) (4 bits)
//   |error| <= (inputs + 8) * 2^-23 * sum over k of |x * scale| * (|code| + |zero_point|) (8 bits)
// for |x| in {0} and [2^-100, 2^100] and scales of at least 2^-100; infinities may become NaN.
//
// A DenseCodes is immutable; run() may be called concurrently with different scratch.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "tersor/base/export.h"

namespace tersor::quantization {

struct DenseCodesWeights {
  int64_t outputs = 1, inputs = 1;
  const int8_t* codes = nullptr;      // [outputs][inputs]
  int bits = 8;                       // 2..8; codes lie in [-2^(bits - 1), 2^(bits - 1))
  int64_t group = 0;                  // inputs that share a scale; 0: all of an output's
  const float* scale = nullptr;       // [outputs][ceil(inputs / group)]
  const float* zero_point = nullptr;  // the same, or nullptr for 0
  const float* bias = nullptr;        // [outputs], or nullptr
  float low = -std::numeric_limits<float>::infinity();  // act: clamp to [low, high], NaN stays
  float high = std::numeric_limits<float>::infinity();

  int64_t group_inputs() const { return group > 0 && group < inputs ? group : inputs; }
  int64_t groups() const { return (inputs + group_inputs() - 1) / group_inputs(); }
};

class TERSOR_API DenseCodes {
 public:
  // Whether the kernels take groups of this length: all inputs, or up to 4 bits 8, 16, 32, 64 and
  // multiples of 128, else multiples of 16.
  static bool supports(const DenseCodesWeights& weights);

  // Packs. ValueError if a size is not positive, bits are not in [2, 8], a code is out of range, or
  // the groups are not supported.
  explicit DenseCodes(const DenseCodesWeights& weights);
  ~DenseCodes();
  DenseCodes(DenseCodes&&) noexcept;

  // x [rows, inputs], y [rows, outputs]. scratch: scratch_bytes(rows), 64-byte aligned.
  void run(const float* x, int64_t rows, float* y, void* scratch, int threads) const;

  size_t scratch_bytes(int64_t rows) const;
  size_t packed_bytes() const;
  int64_t inputs() const;
  int64_t outputs() const;
  const char* kernel() const;  // such as "dense_int4 simd_avx2"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tersor::quantization
