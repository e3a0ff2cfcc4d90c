// What every loss on logits takes: rows of student and teacher logits, row-major and contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor::distillation {

enum class LogitType : std::uint8_t { float32, bfloat16 };

struct Logits {
  const void* student = nullptr;  // rows x classes
  const void* teacher = nullptr;  // rows x teacher_columns
  std::size_t rows = 0;
  std::size_t classes = 0;
  LogitType student_type = LogitType::float32;
  LogitType teacher_type = LogitType::float32;
  // The teacher's largest logits only: teacher_columns of them in each row, with their classes. Its
  // distribution is the softmax over these, 0 elsewhere. nullptr: all classes.
  const std::int64_t* teacher_indices = nullptr;
  std::size_t teacher_columns = 0;
};

}  // namespace tersor::distillation
