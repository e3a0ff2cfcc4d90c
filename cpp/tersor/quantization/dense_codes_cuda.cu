#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/gemv_int4.h"
#include "tersor/quantization/cuda.h"

namespace tersor::quantization {
namespace {

// scale * (code - zero_point) with one scale for 32 codes.
struct GroupDecode {
  const float* scale;
  const float* zero;  // or null
  std::size_t group, groups;
  bool is_signed;

  __device__ float operator()(const uint4& codes, const float* x, std::size_t o,
                              std::size_t k) const {
    const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
    float sum = 0, x_sum = 0;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      // Two's complement plus 8 is the bits with the highest one flipped.
      const unsigned word = is_signed ? words[w] ^ 0x88888888u : words[w];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        // Four bits below the exponent of 1 are 1 + code / 16: no conversion.
        const int shift = 19 - 4 * i;
        const unsigned moved = shift >= 0 ? word << (shift & 31) : word >> (-shift & 31);
        const float f = __uint_as_float((moved & 0x00780000u) | 0x3f800000u);
        const float v = x[(8 * w + i) * static_cast<int>(cuda::kWarp)];
        sum = fmaf(v, f, sum);
        x_sum += v;
      }
    }
    const std::size_t s = o * groups + k / group;
    const float offset = (is_signed ? 24.0f : 16.0f) + (zero ? zero[s] : 0.0f);
    return scale[s] * fmaf(16.0f, sum, -offset * x_sum);
  }
};

}  // namespace

void dense_int4_cuda(const DeviceDenseInt4& d, const void* x, Number type, std::size_t rows,
                     float* y, Stream stream) {
  TERSOR_CHECK(d.inputs > 0 && d.inputs % 32 == 0,
               "DenseInt4: inputs must be a multiple of 32, got ", d.inputs);
  const std::size_t group = d.group > 0 && d.group < d.inputs ? d.group : d.inputs;
  TERSOR_CHECK(group % 32 == 0, "DenseInt4: group must be a multiple of 32, got ", group);
  cuda::Gemv a = {d.codes, x, type, rows, d.outputs, d.inputs, d.bias, d.low, d.high, y};
  const GroupDecode decode = {d.scale, d.zero_point, group, (d.inputs + group - 1) / group,
                              d.is_signed};
  cuda::gemv_int4("DenseInt4", a, decode, stream);
}

}  // namespace tersor::quantization
