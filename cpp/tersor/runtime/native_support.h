// What the native steps share: names, division among threads, broadcasting as few loops.
#pragma once

#include <algorithm>
#include <string>

#include "tersor/base/kernel_table.h"
#include "tersor/base/threads.h"
#include "tersor/runtime/operand.h"

namespace tersor::runtime {

// "native add_codes avx2", with the variant that the table picks now.
std::string native_kernel_name(const KernelTableBase& table);

// Calls fn(begin, end) for pieces of [0, n) on up to `threads` threads, each piece at least `grain`
// long and starting at a multiple of 64 where grain >= 64.
template <class F>
void split(int threads, int64_t n, int64_t grain, F fn) {
  const int64_t pieces = std::min<int64_t>(threads, n / std::max<int64_t>(grain, 1));
  if (pieces <= 1) {
    if (n > 0) fn(int64_t{0}, n);
    return;
  }
  const int64_t unit = grain >= 64 ? 64 : 1;
  const int64_t piece = ((n + pieces - 1) / pieces + unit - 1) / unit * unit;
  parallel_tasks(static_cast<size_t>(pieces), threads, [&](size_t task, int) {
    const int64_t begin = static_cast<int64_t>(task) * piece;
    const int64_t end = std::min(n, begin + piece);
    if (begin < end) fn(begin, end);
  });
}

// Below this many elements per thread, waking another costs more than it saves (about 64 Ki in
// all).
inline constexpr int64_t kElementGrain = 32768;

// y[i] = f(a[...], b[...]) over an output of any rank, as `outer` two-dimensional pieces. Adjacent
// dimensions that both operands walk (or repeat) alike are one. Strides in elements; steps are 0
// or 1.
struct BroadcastLoops {
  Shape outer;  // remaining dimensions, usually none
  Shape a_outer, b_outer;
  int64_t rows = 1, columns = 1;
  int64_t a_row = 0, a_step = 0, b_row = 0, b_step = 0;

  int64_t outer_count() const { return element_count(outer); }
  // Offsets of the piece `index` in row-major order of `outer`.
  void offsets(int64_t index, int64_t* a, int64_t* b) const;
};
BroadcastLoops broadcast_loops(const Shape& a, const Shape& b, const Shape& output);

}  // namespace tersor::runtime
