// Compiled once per instruction set (cmake/instruction_sets.cmake): the bins of a block by vectors,
// then the counters one by one.
#include <stddef.h>
#include <stdint.h>

#include "tersor/codebook/kernels.h"
#include "tersor/codebook/vector_lanes.h"

namespace tersor::codebook {
namespace {

constexpr size_t kBlock = 256;

}  // namespace

void TERSOR_SIMD_NAME(count_companded)(const float* x, size_t n, const Compander& compander,
                                       uint32_t* counts, uint32_t* zeros) noexcept {
  float padded[kBlock];
  int32_t bins[kBlock];
  const F32 none = {};
  const F32 centre = compander.centre + none, reach = compander.reach + none;
  const F32 half = compander.half + none, not_finite = 2 * half + 1;
  const I32 sign = (I32){} + INT32_MIN;
  I32 found = {};
  while (n > 0) {
    const size_t m = n < kBlock ? n : kBlock;
    const float* from = x;
    if (m < kBlock) {
      for (size_t i = 0; i < kBlock; ++i) padded[i] = i < m ? x[i] : 1.0f;  // 1: not a zero
      from = padded;
    }
    for (size_t i = 0; i < kBlock; i += kLanes) {
      F32 v;
      __builtin_memcpy(&v, from + i, sizeof v);
      const F32 y = v - centre;
      const F32 place = y / (reach + (F32)((I32)y & ~sign)) * half + half;
      const I32 bin = __builtin_convertvector(place == place ? place : not_finite, I32);
      __builtin_memcpy(bins + i, &bin, sizeof bin);
      found -= v == none;
    }
    for (size_t i = 0; i < m; ++i) ++counts[bins[i]];
    x += m;
    n -= m;
  }
  for (size_t lane = 0; lane < kLanes; ++lane) *zeros += (uint32_t)found[lane];
}

}  // namespace tersor::codebook
