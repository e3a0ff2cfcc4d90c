#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/codebook/cuda.h"
#include "tersor/cuda/divider.h"
#include "tersor/cuda/gemv_int4.h"

namespace tersor::codebook {
namespace {

// The table lies in the lanes of the warp, twice: a shuffle looks a code up by its lower four bits
// and takes no notice of the fifth.
struct TableDecode {
  const float* tables;
  cuda::Divider by_group;

  __device__ float operator()(const uint4& codes, const float* x, std::size_t o,
                              std::size_t) const {
    const float entry =
        tables[by_group.divide(static_cast<std::uint32_t>(o)) * 16 + threadIdx.x % 16];
    const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
    float sum = 0;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float value =
            __shfl_sync(cuda::kFullWarp, entry, static_cast<int>(words[w] >> (4 * i)));
        sum = fmaf(x[(8 * w + i) * static_cast<int>(cuda::kWarp)], value, sum);
      }
    }
    return sum;
  }
};

}  // namespace

void lookup_dense_cuda(const DeviceLookup& d, const void* x, cuda::Number type, std::size_t rows,
                       float* y, cuda::Stream stream) {
  TERSOR_CHECK(d.inputs > 0 && d.inputs % 32 == 0,
               "LookupDense: inputs must be a multiple of 32, got ", d.inputs);
  const cuda::Gemv a = {d.codes, x, type, rows, d.outputs, d.inputs, d.bias, d.low, d.high, y};
  TERSOR_CHECK(d.outputs < std::size_t{1} << 31, "LookupDense: outputs must be below 2^31, got ",
               d.outputs);
  if (rows == 0 || d.outputs == 0) return;
  const std::size_t group = d.group > 0 ? d.group : d.outputs;
  const TableDecode decode = {d.tables, cuda::Divider(static_cast<std::uint32_t>(group))};
  cuda::gemv_int4("LookupDense", a, decode, stream);
}

}  // namespace tersor::codebook
