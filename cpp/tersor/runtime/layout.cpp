#include "tersor/runtime/layout.h"

#include <algorithm>

namespace tersor::runtime {

graph::Ints physical_order(Layout layout, size_t rank) {
  graph::Ints order;
  for (size_t i = 0; i < rank; ++i) order.push_back(static_cast<int64_t>(i));
  if (layout == Layout::channels_last && rank >= 3)
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

int64_t physical_axis(int64_t axis, Layout layout, size_t rank) {
  const int64_t logical = normalize_axis(axis, rank, "physical_axis");
  if (layout == Layout::row_major || rank < 3 || logical == 0) return logical;
  return logical == 1 ? static_cast<int64_t>(rank) - 1 : logical - 1;
}

Shape physical_shape(const Shape& logical, Layout layout) {
  Shape shape;
  for (const int64_t axis : physical_order(layout, logical.size()))
    shape.push_back(logical[static_cast<size_t>(axis)]);
  return shape;
}

bool moves_nothing(const Shape& src, const graph::Ints& permutation) {
  if (std::find(src.begin(), src.end(), 0) != src.end()) return true;
  int64_t last = -1;
  for (const int64_t axis : permutation) {
    if (src[static_cast<size_t>(axis)] == 1) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

bool same_in_both_layouts(const Shape& logical) {
  return moves_nothing(logical, physical_order(Layout::channels_last, logical.size()));
}

Tensor physical_constant(const Tensor& logical, size_t rank, Layout layout) {
  if (layout == Layout::row_major || rank < 3) return logical;
  Shape padded(rank - std::min(rank, logical.shape().size()), 1);
  padded.insert(padded.end(), logical.shape().begin(), logical.shape().end());
  const graph::Ints order = physical_order(layout, padded.size());
  const Tensor view = logical.reshaped(padded);
  if (moves_nothing(padded, order)) return view.reshaped(physical_shape(padded, layout));
  return view.transposed(order);
}

std::optional<QParams> physical_qparams(std::optional<QParams> qparams, Layout layout,
                                        size_t rank) {
  if (qparams && qparams->axis >= 0) {
    qparams->axis = static_cast<int>(physical_axis(qparams->axis, layout, rank));
  }
  return qparams;
}

Attributes physical_attributes(Op op, const Attributes& logical, Layout layout, size_t rank) {
  if (graph::spec_of(op).layout != graph::LayoutClass::axis) return logical;
  Attributes mapped = logical;
  if (mapped.has("axis")) mapped.set("axis", physical_axis(logical.integer("axis"), layout, rank));
  if (mapped.has("axes")) {
    graph::Ints axes;
    for (const int64_t axis : logical.integers("axes"))
      axes.push_back(physical_axis(axis, layout, rank));
    mapped.set("axes", axes);
  }
  if (op == Op::pad) {  // starts of all axes, then ends
    const graph::Ints& pads = logical.integers("pads");
    const graph::Ints order = physical_order(layout, rank);
    graph::Ints moved(pads.size());
    for (size_t i = 0; i < rank; ++i) {
      moved[i] = pads[static_cast<size_t>(order[i])];
      moved[rank + i] = pads[rank + static_cast<size_t>(order[i])];
    }
    mapped.set("pads", moved);
  }
  return mapped;
}

bool layout_after_removal(const graph::Ints& axes, Layout layout, const Shape& logical,
                          Layout& result) {
  std::vector<bool> removed(logical.size(), axes.empty());
  for (const int64_t axis : axes) {
    removed[static_cast<size_t>(normalize_axis(axis, logical.size(), "reduce"))] = true;
  }
  // Number the remaining axes in logical order, then look at them in physical order.
  graph::Ints number(logical.size(), 0);
  Shape shape;
  for (size_t i = 0; i < logical.size(); ++i) {
    if (removed[i]) continue;
    number[i] = static_cast<int64_t>(shape.size());
    shape.push_back(logical[i]);
  }
  graph::Ints remaining;
  for (const int64_t axis : physical_order(layout, logical.size())) {
    if (!removed[static_cast<size_t>(axis)]) remaining.push_back(number[static_cast<size_t>(axis)]);
  }
  if (moves_nothing(shape, remaining)) {
    result = Layout::row_major;
    return true;
  }
  result = Layout::channels_last;
  return remaining == physical_order(Layout::channels_last, shape.size());
}

}  // namespace tersor::runtime
