// Compiled once per instruction set.
#include "tersor/base/vector_float32.h"
#include "tersor/runtime/kernels.h"

namespace tersor::runtime {
namespace {

// Words are moved as floats: no load or store changes a bit.
inline void move(uint32_t* to, const uint32_t* from) noexcept {
  store(reinterpret_cast<float*>(to), load(reinterpret_cast<const float*>(from)));
}

// All copies of a channel at a time: short rows would else be mostly loop control.
template <int kCopies>
inline void copy_lines(const ShiftPlanes& p) noexcept {
  const int64_t whole = p.pitch / kLanes * kLanes, shift = p.shift, copy = p.copy;
  const uint32_t* from = p.row;
  uint32_t* to = p.planes;
  for (int64_t c = 0; c < p.channels; ++c, from += p.row_stride, to += p.plane) {
    for (int64_t j = 0; j < whole; j += kLanes) {
#pragma GCC unroll 8
      for (int k = 0; k < kCopies; ++k) move(to + k * copy + j, from + k * shift + j);
    }
    for (int64_t j = whole; j < p.pitch; ++j) {
      for (int k = 0; k < kCopies; ++k) to[k * copy + j] = from[k * shift + j];
    }
  }
}

// A constant step becomes shuffles.
template <int kStep>
inline void pick_line(const uint32_t* __restrict from, uint32_t* __restrict to,
                      int64_t n) noexcept {
  for (int64_t j = 0; j < n; ++j) to[j] = from[j * kStep];
}

}  // namespace

void TERSOR_SIMD_NAME(shift_planes)(const ShiftPlanes& p) noexcept {
  if (p.step == 1) {
    if (p.copies == 3) return copy_lines<3>(p);
    if (p.copies == 5) return copy_lines<5>(p);
    if (p.copies == 1) return copy_lines<1>(p);
  }
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t k = 0; k < p.copies; ++k) {
      uint32_t* const to = p.planes + c * p.plane + k * p.copy;
      const uint32_t* const from = p.row + c * p.row_stride + k * p.shift;
      if (p.step == 2) {
        pick_line<2>(from, to, p.pitch);
      } else {
        for (int64_t j = 0; j < p.pitch; ++j) to[j] = from[j * p.step];
      }
    }
  }
}

}  // namespace tersor::runtime
