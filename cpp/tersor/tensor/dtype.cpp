#include "tersor/tensor/dtype.h"

#include <array>

#include "tersor/base/error.h"

namespace tersor {
namespace {

struct Row {
  const char* name;
  size_t size;
  bool floating;
};

constexpr std::array<Row, kDTypeCount> kRows = {{
    {"float32", 4, true},
    {"float16", 2, true},
    {"bfloat16", 2, true},
    {"int8", 1, false},
    {"uint8", 1, false},
    {"int16", 2, false},
    {"int32", 4, false},
    {"int64", 8, false},
    {"bool", 1, false},
    {"float64", 8, true},
}};

const Row& row(DType dtype) { return kRows.at(static_cast<size_t>(dtype)); }

}  // namespace

size_t size_of(DType dtype) { return row(dtype).size; }
const char* name_of(DType dtype) { return row(dtype).name; }
bool is_float(DType dtype) { return row(dtype).floating; }

DType dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (name == kRows[i].name) return static_cast<DType>(i);
  }
  std::string known;
  for (const Row& r : kRows) known += std::string(known.empty() ? "" : ", ") + r.name;
  throw ValueError("dtype: must be one of " + known + ", got " + std::string(name));
}

}  // namespace tersor
