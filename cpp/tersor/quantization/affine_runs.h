// How the doors of this room walk over a tensor with several scales. Private to the room.
#pragma once

#include <algorithm>

#include "tersor/base/threads.h"
#include "tersor/quantization/affine.h"

namespace tersor::quantization {

// About 10 us of work for a thread, several times what waking it costs.
inline constexpr std::size_t kAffineGrain = 1 << 16;

// On the pool, calls
//   along(begin, n, s)                    for n elements from `begin` on that share the scale s,
//   across(begin, rows, columns, s)       for rows of `columns` elements with the scales s, s + 1..
// until every element was visited once.
template <class Along, class Across>
void for_each_run(AffineShape s, const Along& along, const Across& across) {
  using std::size_t;
  if (s.size() == 0) return;
  const auto grain = [](size_t elements) {
    return std::max<size_t>(kAffineGrain / std::max<size_t>(elements, 1), 1);
  };
  if (s.group > 0) {
    const size_t groups = s.groups();
    parallel_for(s.outer * groups, grain(s.group * s.inner), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const size_t first = i % groups * s.group;
        const size_t length = std::min(s.group, s.channels - first);
        const size_t start = (i / groups * s.channels + first) * s.inner;
        if (s.inner == 1) {
          along(start, length, i);
        } else {
          across(start, length, s.inner, i * s.inner);
        }
      }
    });
  } else if (s.channels == 1) {
    parallel_for(s.size(), kAffineGrain,
                 [&](size_t begin, size_t end) { along(begin, end - begin, 0); });
  } else if (s.inner == 1) {
    parallel_for(s.outer, grain(s.channels), [&](size_t begin, size_t end) {
      across(begin * s.channels, end - begin, s.channels, 0);
    });
  } else {
    parallel_for(s.outer * s.channels, grain(s.inner), [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) along(i * s.inner, s.inner, i % s.channels);
    });
  }
}

// The same in the order of memory, for doors whose output is not one byte per element: from element
// i on, `length` elements in a row have the scale s each, or s, s + 1 ... where steps(shape).
struct Run {
  std::size_t s, length;
};

inline bool steps(const AffineShape& a) {
  return a.group > 0 ? a.inner > 1 : a.inner == 1 && a.channels > 1;
}

inline Run run_from(const AffineShape& a, std::size_t i) {
  const std::size_t s = a.scale_of(i);
  if (a.group > 0) {
    if (a.inner > 1) return {s, a.inner - i % a.inner};
    const std::size_t c = i % a.channels;
    return {s, std::min(a.group - c % a.group, a.channels - c)};
  }
  if (a.channels == 1) return {s, a.size() - i};
  return {s, a.inner == 1 ? a.channels - s : a.inner - i % a.inner};
}

}  // namespace tersor::quantization
