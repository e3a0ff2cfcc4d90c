#include "tersor/runtime/native_support.h"

namespace tersor::runtime {

std::string native_kernel_name(const KernelTableBase& table) {
  return std::string("native ") + table.op() + " " + table.row(table.active_row()).variant;
}

void BroadcastLoops::offsets(int64_t index, int64_t* a, int64_t* b) const {
  *a = *b = 0;
  for (size_t i = outer.size(); i-- > 0;) {
    *a += index % outer[i] * a_outer[i];
    *b += index % outer[i] * b_outer[i];
    index /= outer[i];
  }
}

BroadcastLoops broadcast_loops(const Shape& a, const Shape& b, const Shape& output) {
  const Shape a_strides = broadcast_strides(a, output);
  const Shape b_strides = broadcast_strides(b, output);
  Shape sizes, a_merged, b_merged;
  for (size_t i = 0; i < output.size(); ++i) {
    if (output[i] == 1) continue;
    if (!sizes.empty() && a_merged.back() == a_strides[i] * output[i] &&
        b_merged.back() == b_strides[i] * output[i]) {
      sizes.back() *= output[i];
      a_merged.back() = a_strides[i];
      b_merged.back() = b_strides[i];
    } else {
      sizes.push_back(output[i]);
      a_merged.push_back(a_strides[i]);
      b_merged.push_back(b_strides[i]);
    }
  }
  const auto take = [](Shape& shape) {
    const int64_t last = shape.back();
    shape.pop_back();
    return last;
  };
  BroadcastLoops loops;
  if (!sizes.empty()) {
    loops.columns = take(sizes);
    loops.a_step = take(a_merged);
    loops.b_step = take(b_merged);
  }
  if (!sizes.empty()) {
    loops.rows = take(sizes);
    loops.a_row = take(a_merged);
    loops.b_row = take(b_merged);
  }
  loops.outer = sizes;
  loops.a_outer = a_merged;
  loops.b_outer = b_merged;
  return loops;
}

}  // namespace tersor::runtime
