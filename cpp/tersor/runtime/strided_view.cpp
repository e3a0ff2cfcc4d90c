#include "tersor/runtime/strided_view.h"

#include <algorithm>

#include "tersor/runtime/operand.h"

namespace tersor::runtime {

StridedView view_of(const StepSpec& spec) {
  const Shape& in = spec.inputs[0]->shape;
  const Shape& out = spec.outputs[0]->shape;
  const Shape dense = row_major_strides(in);
  if (spec.op == Op::expand) return {0, broadcast_strides(in, out)};
  if (spec.op == Op::transpose) {
    StridedView view;
    for (int64_t axis : spec.attributes.integers("perm"))
      view.strides.push_back(dense.at(static_cast<size_t>(axis)));
    return view;
  }
  if (spec.op == Op::slice) {
    StridedView view{0, dense};
    const auto& axes = spec.attributes.integers("axes");
    for (size_t i = 0; i < axes.size(); ++i) {
      const auto axis = static_cast<size_t>(normalize_axis(axes[i], in.size(), "slice"));
      const int64_t step = spec.attributes.integers("steps").at(i);
      int64_t start = spec.attributes.integers("starts").at(i);
      if (start < 0) start += in[axis];
      start = std::clamp<int64_t>(start, 0, step < 0 ? in[axis] - 1 : in[axis]);
      view.offset += start * dense[axis];
      view.strides[axis] = step * dense[axis];
    }
    return view;
  }
  return {0, row_major_strides(out)};
}

}  // namespace tersor::runtime
