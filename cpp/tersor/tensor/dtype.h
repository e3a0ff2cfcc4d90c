// Element types of tensors and edges. The numeric values are written into artifacts: never
// renumber.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tersor/base/export.h"

namespace tersor {

enum class DType : uint8_t {
  float32 = 0,
  float16 = 1,
  bfloat16 = 2,
  int8 = 3,
  uint8 = 4,
  int16 = 5,
  int32 = 6,
  int64 = 7,
  boolean = 8,
  float64 = 9,
};

inline constexpr int kDTypeCount = 10;

TERSOR_API size_t size_of(DType dtype);
TERSOR_API const char* name_of(
    DType dtype);  // NumPy's (and ml_dtypes') name: "float32", "int8", ...
TERSOR_API DType dtype_from_name(std::string_view name);  // ValueError on an unknown name
TERSOR_API bool is_float(DType dtype);

}  // namespace tersor
