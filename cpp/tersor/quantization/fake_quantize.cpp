#include "tersor/quantization/fake_quantize.h"

#include <algorithm>
#include <cmath>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/affine_runs.h"
#include "tersor/quantization/fake_quantize_parameters.h"
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/qparams_check.h"

namespace tersor::quantization {
namespace {

using std::size_t;

constexpr size_t kGrain = 1 << 15;  // elements; a multiple of 8, as masks are shared by bytes
constexpr std::int32_t kMost = 1 << 20;

// Runs in which every element brings its own scale, where those of a channel do not begin on bytes
// of the mask: 4 x 2 KiB of parameters stay in L1.
constexpr size_t kEach = 512;
constexpr size_t kShortRun = 16;  // shorter runs are gathered so

class Forward {
 public:
  Forward(const float* x, float* y, std::uint8_t* mask, const AffineShape& layout,
          const FakeParameters& p)
      : x_(x), y_(y), mask_(mask), layout_(layout), p_(p) {}

  void run() const {
    const size_t n = layout_.size();
    if (n == 0) return;
    // The flat array in parts of whole bytes of the mask.
    parallel_for((n + 7) / 8, kGrain / 8,
                 [&](size_t begin, size_t end) { part(begin * 8, std::min(end * 8, n)); });
  }

 private:
  std::uint8_t* mask_at(size_t i) const { return mask_ ? mask_ + i / 8 : nullptr; }

  void part(size_t i, size_t end) const {
    const auto one = fake_quantize_table.pick();
    const auto each = fake_quantize_each_table.pick();
    const bool stepping = steps(layout_);
    while (i < end) {
      const Run run = run_from(layout_, i);
      const size_t length = std::min(run.length, end - i), s = run.s;
      // Whole bytes of the mask, then whatever lies between runs.
      const size_t whole = length == end - i || !mask_ ? length : length / 8 * 8;
      if (length < kShortRun) {
        i = mixed(i, end);
        continue;
      }
      if (stepping) {
        each(x_ + i, y_ + i, mask_at(i), whole, &p_.scale[s], &p_.zero[s], &p_.low[s], &p_.high[s]);
      } else {
        one(x_ + i, y_ + i, mask_at(i), whole, p_.scale[s], p_.zero[s], p_.low[s], p_.high[s]);
      }
      i += whole;
    }
  }

  // From i on, until a long run begins on a byte of the mask; returns where it stopped.
  size_t mixed(size_t i, size_t end) const {
    float scale[kEach], zero[kEach], low[kEach], high[kEach];
    const size_t begin = i, stop = std::min(end, begin + kEach), step = steps(layout_) ? 1 : 0;
    while (i < stop) {
      const Run run = run_from(layout_, i);
      size_t length = std::min(run.length, stop - i);
      if (length >= 4 * kShortRun) {
        if (i > begin && i % 8 == 0) break;
        length = std::min(length, 8 - i % 8);  // to the next byte only
      }
      for (size_t k = 0; k < length; ++k) {
        const size_t s = run.s + k * step, at = i + k - begin;
        scale[at] = p_.scale[s];
        zero[at] = p_.zero[s];
        low[at] = p_.low[s];
        high[at] = p_.high[s];
      }
      i += length;
    }
    fake_quantize_each_table.pick()(x_ + begin, y_ + begin, mask_at(begin), i - begin, scale, zero,
                                    low, high);
    return i;
  }

  const float* x_;
  float* y_;
  std::uint8_t* mask_;
  const AffineShape& layout_;
  const FakeParameters& p_;
};

}  // namespace

FakeParameters fake_parameters(const char* op, size_t scales, const FakeQuantizer& q) {
  TERSOR_CHECK(-kMost <= q.lo && q.lo <= q.hi && q.hi <= kMost, op,
               ": lo and hi must satisfy -2^20 <= lo <= hi <= 2^20, got ", q.lo, " and ", q.hi);
  FakeParameters p;
  p.scale.assign(q.scale, q.scale + scales);
  p.zero.assign(scales, 0);
  p.low.assign(scales, static_cast<float>(q.lo));
  p.high.assign(scales, static_cast<float>(q.hi));
  for (size_t s = 0; s < scales; ++s) {
    TERSOR_CHECK(std::isfinite(p.scale[s]) && p.scale[s] > 0, op,
                 ": scale must be finite and > 0, got ", p.scale[s], " for channel ", s);
    float taken = 0;
    if (q.zero_point_float) {
      const float zero = q.zero_point_float[s];
      TERSOR_CHECK(std::fabs(zero) <= 0x1p21f, op, ": zero_point must be in [-2^21, 2^21], got ",
                   zero, " for channel ", s);
      if (q.rounded) {
        taken = std::clamp(std::nearbyintf(zero), p.low[s], p.high[s]);
      } else {
        p.zero[s] = zero;
      }
    } else if (q.zero_point) {
      TERSOR_CHECK(q.lo <= q.zero_point[s] && q.zero_point[s] <= q.hi, op,
                   ": zero_point must be in [", q.lo, ", ", q.hi, "], got ", q.zero_point[s],
                   " for channel ", s);
      taken = static_cast<float>(q.zero_point[s]);
    }
    p.low[s] -= taken;
    p.high[s] -= taken;
  }
  return p;
}

void fake_quantize(const float* x, float* y, std::uint8_t* mask, const AffineShape& layout,
                   const FakeQuantizer& q) {
  const FakeParameters p = fake_parameters("fake_quantize", layout.scales(), q);
  Forward(x, y, mask, layout, p).run();
}

void fake_quantize(const float* x, float* y, std::uint8_t* mask, const Shape& shape,
                   const QParams& q) {
  const AffineShape layout = checked_layout("fake_quantize", shape, q);
  FakeQuantizer f;
  f.scale = q.scale.data();
  f.zero_point = q.zero_point.data();
  f.zero_point_float = q.has_float_zero() ? q.zero_point_float.data() : nullptr;
  f.lo = q.code_min();
  f.hi = q.code_max();
  fake_quantize(x, y, mask, layout, f);
}

void fake_quantize_backward(const float* dy, const std::uint8_t* mask, float* dx, size_t n) {
  const auto kernel = fake_quantize_backward_table.pick();
  parallel_for((n + 7) / 8, kGrain / 8, [&](size_t begin, size_t end) {
    const size_t first = begin * 8, last = std::min(end * 8, n);
    kernel(dy + first, mask + begin, dx + first, last - first);
  });
}

}  // namespace tersor::quantization
