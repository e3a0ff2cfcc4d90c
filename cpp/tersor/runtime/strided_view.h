// Operators whose output is a strided view of their input: slice, transpose, expand, reshape,
// identity.
#pragma once

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// Output element i is input element offset + sum i_k * strides_k.
struct StridedView {
  int64_t offset = 0;
  Shape strides;
};
StridedView view_of(const StepSpec& spec);

}  // namespace tersor::runtime
