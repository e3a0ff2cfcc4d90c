// Physical order of edges: how axes, shapes, attributes and constants of an operator look in a
// layout.
//
// channels_last applies to rank >= 3 only; below that both layouts are the logical order.
#pragma once

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// order[p] = logical axis at physical position p: 0, 2, ..., rank - 1, 1 for channels_last.
graph::Ints physical_order(Layout layout, size_t rank);
// Physical position of a logical axis in [-rank, rank).
int64_t physical_axis(int64_t axis, Layout layout, size_t rank);
Shape physical_shape(const Shape& logical, Layout layout);

// True when dst axis i = src axis permutation[i] moves no element: axes longer than 1 keep their
// order.
bool moves_nothing(const Shape& src, const graph::Ints& permutation);
// True when a tensor of this logical shape is the same bytes in both layouts.
bool same_in_both_layouts(const Shape& logical);

// A constant operand of a broadcasting operator whose output has `rank` axes in `layout`: leading
// ones are added for channels_last, then the axes are permuted.
Tensor physical_constant(const Tensor& logical, size_t rank, Layout layout);
std::optional<QParams> physical_qparams(std::optional<QParams> qparams, Layout layout, size_t rank);

// Attributes that name axes of an input of `rank` axes (axis, axes, pads of pad) mapped to its
// layout.
Attributes physical_attributes(Op op, const Attributes& logical, Layout layout, size_t rank);

// What remains after `axes` (logical) of an input were removed (keepdims = 0): true and the layout
// of the result if the remaining physical axes are in the order of some layout.
bool layout_after_removal(const graph::Ints& axes, Layout layout, const Shape& logical,
                          Layout& result);

}  // namespace tersor::runtime
