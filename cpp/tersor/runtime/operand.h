// An input of a step as providers keep it: the edge, and where its values come from.
#pragma once

#include <string>
#include <vector>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// A copy of the edge (the plan's may go away), and its index among the step's inputs.
struct Operand {
  PlanEdge edge;
  int index = -1;  // -1: an absent optional input

  bool present() const { return index >= 0; }
  bool is_constant() const { return static_cast<bool>(edge.constant); }
  const void* bytes(const StepBuffers& buffers) const {
    return edge.constant ? edge.constant.data() : buffers.inputs[index];
  }
  template <class T>
  const T* data(const StepBuffers& buffers) const {
    return static_cast<const T*>(bytes(buffers));
  }
};

Operand operand(const StepSpec& spec, size_t index);  // absent beyond the inputs of the node
std::vector<Operand> operands(const StepSpec& spec);

// What the edges of a step hold. `other` moves bytes only (reshape of int64 ...); `mixed` has no
// meaning.
enum class Values : uint8_t { float32, int8, other, mixed };
// Looks at data inputs [0, count) and all outputs. int8 needs qparams on each of them.
Values values_of(const StepSpec& spec, size_t count);

// Scale and zero point of a per-tensor quantized edge; UnsupportedError naming the node otherwise.
struct Affine {
  float scale;
  int32_t zero_point;
};
Affine affine_of(const StepSpec& spec, const PlanEdge& edge);

// Throws UnsupportedError "operator (node name): why".
[[noreturn]] void refuse(const StepSpec& spec, const std::string& why);
[[noreturn]] void refuse_types(const StepSpec& spec);  // lists dtypes and which edges are quantized

// Refuses unless data inputs [0, count) have the output's dtype, scale and zero point: codes keep
// their bits.
void check_same_parameters(const StepSpec& spec, size_t count);

// [N, C, spatial...] of an edge in either layout, with exactly three spatial dimensions: leading
// ones of size 1 are put before fewer. Strides in elements.
struct SpatialView {
  int64_t batch, channels;
  int64_t size[3];
  int64_t batch_stride, channel_stride;
  int64_t stride[3];
  int64_t at(int64_t n, int64_t c, int64_t d, int64_t h, int64_t w) const {
    return n * batch_stride + c * channel_stride + d * stride[0] + h * stride[1] + w * stride[2];
  }
};
SpatialView spatial_view(const StepSpec& spec, const PlanEdge& edge);

// Window attributes of convolutions and pools, three dimensions likewise. pad_begin only: the end
// follows from the output's size.
struct Window {
  int64_t kernel[3];
  int64_t stride[3];
  int64_t dilation[3];
  int64_t pad_begin[3];
  int64_t pad_end[3];
};
Window window_of(const StepSpec& spec, const Shape& kernel);

// Strides, in elements and by output dimension, with which a row-major operand of `shape`
// broadcasts to `output` (0 where it repeats).
Shape broadcast_strides(const Shape& shape, const Shape& output);

// Limits of a fused activation ("none", "relu", "relu6").
struct Range {
  double low, high;
};
std::string activation_of(
    const StepSpec& spec);  // the attribute, "none" where the operator lacks it
Range activation_range(const StepSpec& spec, const std::string& activation);
inline double clamp_to(Range range, double v) {  // NaN stays
  return v < range.low ? range.low : v > range.high ? range.high : v;
}

}  // namespace tersor::runtime
