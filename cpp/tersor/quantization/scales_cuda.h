// Which scale belongs to an element, and what it says, in kernels. Private to the room.
#pragma once

#include <cuda_runtime.h>

#include "tersor/cuda/divider.h"
#include "tersor/quantization/cuda.h"

namespace tersor::quantization {

enum class Scales { one, per_vector, per_element };  // who shares one: all, eight in a row, nobody

// AffineShape for kernels.
struct DeviceLayout {
  std::uint64_t size = 0, channels = 1, inner = 1, group = 0, groups = 1;
  cuda::Divider by_inner, by_channels, by_group;
  bool narrow = false;  // indices below 2^31

  DeviceLayout() = default;
  explicit DeviceLayout(const AffineShape& s)
      : size(s.size()),
        channels(s.channels),
        inner(s.inner),
        group(s.group),
        groups(s.groups()),
        narrow(s.size() < (std::uint64_t{1} << 31) && s.group < (std::uint64_t{1} << 31)) {
    if (!narrow || size == 0) return;
    by_inner = cuda::Divider(static_cast<std::uint32_t>(inner));
    by_channels = cuda::Divider(static_cast<std::uint32_t>(channels));
    if (group > 0) by_group = cuda::Divider(static_cast<std::uint32_t>(group));
  }

  Scales sharing() const {
    if (channels == 1 && group == 0) return Scales::one;
    const bool in_row =
        group == 0 ? inner % 8 == 0 : inner == 1 && group % 8 == 0 && channels % 8 == 0;
    return in_row ? Scales::per_vector : Scales::per_element;
  }
};

// A place in the layout that moves on by one.
class Place {
 public:
  __device__ Place(const DeviceLayout& l, std::uint64_t i) : l_(l) {
    if (l.narrow) {
      const auto n = static_cast<std::uint32_t>(i);
      const std::uint32_t line = l.by_inner.divide(n);
      const std::uint32_t row = l.by_channels.divide(line);
      b_ = n - line * static_cast<std::uint32_t>(l.inner);
      c_ = line - row * static_cast<std::uint32_t>(l.channels);
      o_ = row;
    } else {
      const std::uint64_t line = i / l.inner;
      o_ = line / l.channels;
      b_ = i - line * l.inner;
      c_ = line - o_ * l.channels;
    }
  }
  __device__ std::uint64_t scale() const {
    if (l_.group == 0) return c_;
    const std::uint64_t g =
        l_.narrow ? l_.by_group.divide(static_cast<std::uint32_t>(c_)) : c_ / l_.group;
    return (o_ * l_.groups + g) * l_.inner + b_;
  }
  __device__ void next() {
    if (++b_ < l_.inner) return;
    b_ = 0;
    if (++c_ < l_.channels) return;
    c_ = 0;
    ++o_;
  }

 private:
  const DeviceLayout& l_;
  std::uint64_t o_, c_, b_;
};

// The numbers of one scale: t = x / scale + zero; codes of [low, high] + taken.
struct ScaleTerms {
  float scale, zero, taken, low, high;
};

__device__ inline ScaleTerms terms_of(const DeviceQuantizer& p, std::uint64_t s) {
  ScaleTerms t;
  t.scale = p.scale ? p.scale[s] : p.one_scale;
  float zero = p.one_zero;
  bool is_float = p.float_zero;
  if (p.zero_point) {
    zero = static_cast<float>(p.zero_point[s]);
  } else if (p.zero_point_float) {
    zero = p.zero_point_float[s];
    is_float = true;
  }
  const float lo = static_cast<float>(p.lo), hi = static_cast<float>(p.hi);
  if (is_float && p.rounded) {
    zero = fminf(fmaxf(rintf(zero), lo), hi);
    is_float = false;
  }
  t.zero = is_float ? zero : 0.0f;
  t.taken = is_float ? 0.0f : zero;
  t.low = lo - t.taken;
  t.high = hi - t.taken;
  return t;
}

// Calls f with an integral constant for each kind of sharing.
template <Scales kSharing>
struct SharingTag {
  static constexpr Scales value = kSharing;
};
template <class F>
void with_sharing(Scales sharing, F&& f) {
  switch (sharing) {
    case Scales::one:
      return f(SharingTag<Scales::one>{});
    case Scales::per_vector:
      return f(SharingTag<Scales::per_vector>{});
    case Scales::per_element:
      return f(SharingTag<Scales::per_element>{});
  }
}

// f(k, terms) for the `count` <= 8 elements from `first` on. `common` holds the terms where all
// elements of the tensor share them.
template <Scales kSharing, class F>
__device__ void for_vector(const DeviceLayout& layout, const DeviceQuantizer& p,
                           const ScaleTerms& common, std::uint64_t first, unsigned count, F&& f) {
  if constexpr (kSharing == Scales::one) {
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) {
      if (k < count) f(k, common);
    }
  } else if constexpr (kSharing == Scales::per_vector) {
    const ScaleTerms t = terms_of(p, Place(layout, first).scale());
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) {
      if (k < count) f(k, t);
    }
  } else {
    Place place(layout, first);
#pragma unroll
    for (unsigned k = 0; k < 8; ++k) {
      if (k < count) f(k, terms_of(p, place.scale()));
      place.next();
    }
  }
}

}  // namespace tersor::quantization
