// One row of student and teacher logits -> exponentials at their temperatures and their sums ->
// the gradient of every loss that is linear in those exponentials.
//
//   u[c] = 2^(student_scale * z[c] - n_u)     student, scale = log2(e) / temperature
//   v[c] = 2^(teacher_scale * t[c] - n_v)     teacher
//   e[c] = 2^(log2(e) * z[c] - n_e)           student at temperature 1
//
// The exponents n are integers near those of the row's largest value, so that no result exceeds
// 2^0.5 and softmax(z / T) = u / sum u. A row is cut into blocks of kBlock elements; each keeps the
// largest n so far as its own, which the scale factors of the gradient undo exactly: one pass over
// the logits. Results below 2^-120 are rounded up to about that.
//
// Variants round differently: u, v and e are within 2^-22 of the formula relative to themselves,
// sums within 2^-21. Where a logit is NaN or infinite or |z * scale| >= 2^20, `difference` or a sum
// is not finite; the door then takes another way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::distillation {

// Student, teacher and their exponentials are 16 KiB, half of a 32 KiB L1.
constexpr std::size_t kBlock = 1024;
// Vectors of the scratch arrays may be written as a whole.
constexpr std::size_t kPadding = 16;

// Where e comes from. A power of u costs one or two multiplications instead of an exponential.
enum class Hard : std::int32_t { none, first_power, second_power, fourth_power, separate };

struct SoftenedRow {
  const float* student = nullptr;
  const float* teacher = nullptr;  // nullptr: no v, and no difference
  std::size_t n = 0;               // > 0
  float student_scale = 0;
  float teacher_scale = 0;
  Hard hard = Hard::none;
  bool moments = false;
  const float* target = nullptr;  // a hint: memory of n floats that is written next
  // Scratch of n + kPadding floats each; `separate` only with Hard::separate.
  float* soft_student = nullptr;      // u
  float* soft_teacher = nullptr;      // v
  float* hard_student = nullptr;      // e
  std::int32_t* exponents = nullptr;  // scratch: n_u, n_v, n_e of each block
};

struct SoftenedSums {
  double student = 0;         // sum u, relative to student_exponent
  double teacher = 0;         // sum v, relative to teacher_exponent
  double hard = 0;            // sum e, relative to hard_exponent
  double difference = 0;      // sum v * ((t - teacher_origin) - (z - student_origin))
  double student_moment = 0;  // sum u * z, with `moments` only
  double teacher_moment = 0;  // sum v * z, with `moments` only
  std::int32_t student_exponent = 0;
  std::int32_t teacher_exponent = 0;
  std::int32_t hard_exponent = 0;
  float student_origin =
      0;  // a large logit of the row: differences from it lose nothing to an offset
  float teacher_origin = 0;
};

// Writes the scratch arrays and the sums.
using softened_sums_sig = void(const SoftenedRow& row, SoftenedSums& sums) noexcept;

// What softened_sums found without class `without`: sum u, sum v, sum e and the difference, each
// relative to the exponents in `sums`. For losses of a class that holds nearly all of the
// probability, where a subtraction would leave nothing.
using softened_sums_without_sig = void(const SoftenedRow& row, const SoftenedSums& sums,
                                       std::size_t without, double out[4]) noexcept;

// g[c] = hard * e[c] + student * u[c] - teacher * v[c] - slope * (z[c] - center)
//        - weight * weights[c] - constant
// after softened_sums wrote the scratch arrays. g may be the student's logits. With `streaming` it
// is written past the caches where it is aligned.
struct GradientFactors {
  float hard = 0;
  float student = 0;
  float teacher = 0;
  float slope = 0;
  float center = 0;
  float constant = 0;
  float weight = 0;
  const float* weights = nullptr;
  bool streaming = false;
};
using softened_gradient_sig = void(const SoftenedRow& row, const SoftenedSums& sums,
                                   const GradientFactors& factors, float* gradient) noexcept;

// out[0] = sum of (x[c] - shift), out[1] = sum of (x[c] - shift)^2, or, with weights, out[0] = sum
// of weights[c] * (x[c] - shift).
using row_moments_sig = void(const float* x, const float* weights, std::size_t n, float shift,
                             double out[2]) noexcept;

}  // namespace tersor::distillation
