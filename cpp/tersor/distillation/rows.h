// Rows of logits for the doors of this room: conversion to float32, scratch, threads, ordered sums.
// Private to cpp/tersor/distillation.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/distillation/logits.h"
#include "tersor/distillation/softened.h"

namespace tersor::distillation {

// Memory for one call: small requests take none from the heap.
class CallMemory {
 public:
  explicit CallMemory(std::size_t bytes)
      : buffer_(bytes > sizeof inline_ ? bytes : 0), bytes_(bytes) {}
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes_ > sizeof inline_ ? buffer_.data() : inline_);
  }

 private:
  Buffer buffer_;
  std::size_t bytes_;
  alignas(kAlignment) unsigned char inline_[8192];
};

// Above this many bytes of gradient, the caches would lose more than they could keep (measured:
// equal at 8 MiB, 1.2 times as fast at 64 MiB).
constexpr std::size_t kStreamBytes = 16u << 20;

// Above this temperature rows are computed in double: sums in float32 leave 3e-7 T^2 of a loss that
// stays near 1 while T grows, 3e-4 here.
constexpr double kFastTemperature = 32;

// Scratch of one thread.
struct RowScratch {
  float* student;
  float* teacher;
  float* gradient;
  float* soft_student;
  float* soft_teacher;
  float* hard_student;
  std::int32_t* exponents;
};

// One row in float32.
struct Row {
  std::size_t index;
  const float* student;
  const float* teacher;         // teacher_columns values
  const std::int64_t* classes;  // of the teacher's values, nullptr: all
  float* gradient;              // nullptr: not wanted
  bool streaming;
  const RowScratch* scratch;
};

// Calls one_row(row) for each row of `logits` on the pool. It returns whether it wrote the
// gradient, which is then narrowed if it is bfloat16. Of the scratch, soft_student is there,
// soft_teacher if scratch_rows >= 2, hard_student if scratch_rows >= 3, and the exponents.
void for_each_row(const Logits& logits, void* gradient, int scratch_rows,
                  detail::FunctionRef<bool(const Row&)> one_row);

// Widens n values from element `first` on, unless they are float32 already; `scratch` has room for
// n.
const float* as_float32(const void* x, LogitType type, std::size_t first, std::size_t n,
                        float* scratch);

// Classes as int32, -1 for rows that do not count: all of them without labels have class 0. Returns
// how many count. ValueError for a label that is no class.
std::size_t read_labels(const char* operation, const Logits& logits, const std::int64_t* labels,
                        std::int64_t ignore, std::int32_t* out);

// What log(sum) must be raised by to be the logarithm of the sum of exp((x - origin) * ln2 *
// scale), sum being one of softened_sums; and that logarithm.
double log_shift(double origin, float scale, std::int32_t exponent);
double log_sum(double sum, double origin, float scale, std::int32_t exponent);

// 2^n for n <= 0, 0 below the range of a double. std::ldexp takes 20 ns, a tenth of a short row.
inline double power_of_two(std::int32_t n) {
  return n < -1000 ? 0.0 : std::bit_cast<double>(static_cast<std::int64_t>(n + 1023) << 52);
}

// An entry of u (which = 0), v (1) or e (2) relative to the row's exponent.
inline double value_at(const float* scratch, const std::int32_t* exponents, int which,
                       std::int32_t final, std::size_t c) {
  return scratch[c] * power_of_two(exponents[c / kBlock * 3 + which] - final);
}

inline std::size_t bytes_of(LogitType type) { return type == LogitType::bfloat16 ? 2 : 4; }

// Sum in the order of the rows, in double.
double ordered_sum(const float* values, std::size_t n);

// Throws the error of the first logit of a row that is NaN or +inf, if there is one.
void check_logits(const char* operation, const char* name, const float* x, std::size_t n,
                  std::size_t row);

}  // namespace tersor::distillation
