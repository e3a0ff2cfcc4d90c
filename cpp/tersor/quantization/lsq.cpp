#include "tersor/quantization/lsq.h"

#include <algorithm>
#include <vector>

#include "tersor/base/threads.h"
#include "tersor/quantization/fake_quantize_parameters.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

using std::size_t;

// Elements of a task: enough to pay for a thread, few enough to share out. Part of the result's
// definition, as sums are added task by task.
constexpr size_t kTask = 1 << 15;

struct Buffers {
  const float *dy, *x;
  float* dx;
};

// Both sums of every scale: [scale] and [scales + scale].
using Sums = std::vector<double>;

class Backward {
 public:
  Backward(const Buffers& b, const AffineShape& layout, const FakeParameters& p)
      : b_(b), layout_(layout), p_(p), sums_(2 * layout.scales(), 0) {}

  Sums run() {
    if (layout_.size() == 0) return std::move(sums_);
    if (layout_.group > 0) {
      groups();
    } else if (layout_.channels == 1) {
      merged(layout_.size(), 1, kTask,
             [&](size_t begin, size_t n, double* sums) { along(begin, n, 0, sums, sums + 1); });
    } else if (layout_.outer == 1) {
      parallel_for(layout_.channels, grain(layout_.inner), [&](size_t begin, size_t end) {
        for (size_t c = begin; c < end; ++c) {
          along(c * layout_.inner, layout_.inner, c, &sums_[c], &sums_[layout_.channels + c]);
        }
      });
    } else {
      const size_t row = layout_.channels * layout_.inner;
      merged(layout_.outer, layout_.channels, std::max<size_t>(1, kTask / row),
             [&](size_t begin, size_t n, double* sums) { rows(begin, n, sums); });
    }
    return std::move(sums_);
  }

 private:
  static size_t grain(size_t elements) {
    return std::max<size_t>(1, (size_t{1} << 16) / std::max<size_t>(elements, 1));
  }

  void along(size_t begin, size_t n, size_t s, double* by_scale, double* outside) const {
    double sums[2] = {0, 0};
    lsq_backward_table.pick()(b_.dy + begin, b_.x + begin, b_.dx + begin, n, p_.scale[s],
                              p_.zero[s], p_.low[s], p_.high[s], sums);
    *by_scale += sums[0];
    *outside += sums[1];
  }

  // rows x columns from `begin` on, with the scales s, s + 1 ...
  void across(size_t begin, size_t rows, size_t columns, size_t s, double* by_scale,
              double* outside) const {
    const auto kernel = lsq_backward_columns_table.pick();
    std::vector<float> part(2 * columns);
    for (size_t r = 0; r < rows; r += kLsqRows) {
      const size_t count = std::min(kLsqRows, rows - r), at = begin + r * columns;
      std::fill(part.begin(), part.end(), 0.0f);
      kernel(b_.dy + at, b_.x + at, b_.dx + at, count, columns, p_.scale.data() + s,
             p_.zero.data() + s, p_.low.data() + s, p_.high.data() + s, part.data());
      for (size_t c = 0; c < columns; ++c) {
        by_scale[c] += static_cast<double>(part[c]);
        outside[c] += static_cast<double>(part[columns + c]);
      }
    }
  }

  // n places of the outer axes from `begin` on.
  void rows(size_t begin, size_t n, double* sums) const {
    const size_t channels = layout_.channels, inner = layout_.inner;
    if (inner == 1) {
      across(begin * channels, n, channels, 0, sums, sums + channels);
      return;
    }
    for (size_t i = begin * channels; i < (begin + n) * channels; ++i) {
      const size_t c = i % channels;
      along(i * inner, inner, c, sums + c, sums + channels + c);
    }
  }

  // Every scale belongs to one block, so that nothing is merged.
  void groups() {
    const size_t groups = layout_.groups(), inner = layout_.inner, scales = layout_.scales();
    parallel_for(layout_.outer * groups, grain(layout_.group * inner),
                 [&](size_t begin, size_t end) {
                   for (size_t i = begin; i < end; ++i) {
                     const size_t first = i % groups * layout_.group, s = i * inner;
                     const size_t length = std::min(layout_.group, layout_.channels - first);
                     const size_t at = (i / groups * layout_.channels + first) * inner;
                     if (inner == 1) {
                       along(at, length, s, &sums_[s], &sums_[scales + s]);
                     } else {
                       across(at, length, inner, s, &sums_[s], &sums_[scales + s]);
                     }
                   }
                 });
  }

  // Tasks of `step` units each have their own sums, which are added in order.
  template <class Task>
  void merged(size_t units, size_t scales, size_t step, const Task& task) {
    const size_t tasks = (units + step - 1) / step;
    std::vector<double> parts(tasks * 2 * scales, 0);
    parallel_for(tasks, 2, [&](size_t begin, size_t end) {
      for (size_t t = begin; t < end; ++t) {
        task(t * step, std::min(step, units - t * step), parts.data() + t * 2 * scales);
      }
    });
    for (size_t i = 0; i < parts.size(); ++i) sums_[i % (2 * scales)] += parts[i];
  }

  const Buffers& b_;
  const AffineShape& layout_;
  const FakeParameters& p_;
  Sums sums_;
};

}  // namespace

void lsq_backward(const float* dy, const float* x, float* dx, const AffineShape& layout,
                  const FakeQuantizer& q, double gradient_scale, float* dscale, float* dzero) {
  const FakeParameters p = fake_parameters("lsq_backward", layout.scales(), q);
  const Sums sums = Backward({dy, x, dx}, layout, p).run();
  const size_t scales = layout.scales();
  for (size_t s = 0; s < scales; ++s) {
    dscale[s] = static_cast<float>(gradient_scale * sums[s]);
    if (!dzero) continue;
    dzero[s] =
        static_cast<float>(gradient_scale * -static_cast<double>(p.scale[s]) * sums[scales + s]);
  }
}

}  // namespace tersor::quantization
