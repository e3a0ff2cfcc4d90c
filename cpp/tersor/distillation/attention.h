// Attention transfer (Zagoruyko and Komodakis 2017, "Paying More Attention to Attention"): the map
// of a feature is the sum of squares over its channels, normalised to length 1 over the positions.
//
//   A[j] = sum_c x[c][j]^2,    a = A / max(|A|_2, 1e-12)
//   loss = mean over samples and positions of (a_student[j] - a_teacher[j])^2
//
// Student and teacher may differ in channels, not in positions.
#pragma once

#include <cstddef>

#include "tersor/base/export.h"
#include "tersor/distillation/logits.h"

namespace tersor::distillation {

// samples x channels x positions, or samples x positions x channels with channels_last.
struct Features {
  const void* student = nullptr;
  const void* teacher = nullptr;
  std::size_t samples = 0;
  std::size_t student_channels = 0;
  std::size_t teacher_channels = 0;
  std::size_t positions = 0;
  bool channels_last = false;
  LogitType student_type = LogitType::float32;
  LogitType teacher_type = LogitType::float32;
};

// Float32 arithmetic, norms and sums in double; the gradient has the student's shape and type, and
// may be the student's memory or nullptr. The result does not depend on the number of threads.
// ValueError if a value is NaN or infinite.
TERSOR_API double attention_loss(const Features& features, void* gradient);

// map[j] = sum over channels of x^2, within 2^-20 relative.
using attention_map_sig = void(const float* x, std::size_t channels, std::size_t positions,
                               bool channels_last, float* map) noexcept;
// g = x * factor[j], j the position; g may be x. Exact products, rounded once.
using attention_gradient_sig = void(const float* x, const float* factor, std::size_t channels,
                                    std::size_t positions, bool channels_last, float* g) noexcept;

}  // namespace tersor::distillation
