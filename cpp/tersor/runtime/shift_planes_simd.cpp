// Compiled once per instruction set.
#include "tersor/base/vector_float32.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

// All copies of a channel at a time: short rows would else be mostly loop control.
template <int kCopies>
inline void copy_lines(const ShiftPlanes& p) noexcept {
  const int64_t whole = p.pitch / kLanes * kLanes, shift = p.shift, copy = p.copy;
  const float* from = p.row;
  float* to = p.planes;
  for (int64_t c = 0; c < p.channels; ++c, from += p.row_stride, to += p.plane) {
    for (int64_t j = 0; j < whole; j += kLanes) {
#pragma GCC unroll 8
      for (int k = 0; k < kCopies; ++k) store(to + k * copy + j, load(from + k * shift + j));
    }
    for (int64_t j = whole; j < p.pitch; ++j) {
      for (int k = 0; k < kCopies; ++k) to[k * copy + j] = from[k * shift + j];
    }
  }
}

// A constant step becomes shuffles.
template <int kStep>
inline void pick_line(const float* __restrict from, float* __restrict to, int64_t n) noexcept {
  for (int64_t j = 0; j < n; ++j) to[j] = from[j * kStep];
}

inline void zero_line(float* to, int64_t n) noexcept {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) store(to + j, broadcast(0));
  for (; j < n; ++j) to[j] = 0;
}

}  // namespace

void TERSOR_SIMD_NAME(shift_planes)(const ShiftPlanes& p) noexcept {
  if (p.row && p.step == 1) {
    if (p.copies == 3) return copy_lines<3>(p);
    if (p.copies == 5) return copy_lines<5>(p);
    if (p.copies == 1) return copy_lines<1>(p);
  }
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t k = 0; k < p.copies; ++k) {
      float* const to = p.planes + c * p.plane + k * p.copy;
      if (!p.row) {
        zero_line(to, p.pitch);
        continue;
      }
      const float* const from = p.row + c * p.row_stride + k * p.shift;
      if (p.step == 2) {
        pick_line<2>(from, to, p.pitch);
      } else {
        for (int64_t j = 0; j < p.pitch; ++j) to[j] = from[j * p.step];
      }
    }
  }
}

}  // namespace tersor::runtime
