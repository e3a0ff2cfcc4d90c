// A float convolution or dense layer as tersor's own makers read it from a StepSpec.
#pragma once

#include <optional>
#include <string>

#include "tersor/base/export.h"
#include "tersor/base/memory.h"
#include "tersor/runtime/conv_lines.h"
#include "tersor/runtime/step.h"

namespace tersor::runtime {

// y = clamp(sum, low, high), then, where there is a residual, clamp(y + residual, post_low,
// post_high).
struct EpilogueFloat32 {
  int residual = -1;  // index of the input, -1: none
  float low, high, post_low, post_high;

  const float* residual_of(const StepBuffers& buffers) const {
    return residual < 0 ? nullptr : static_cast<const float*>(buffers.inputs[residual]);
  }
};
// nullopt when an activation is not one of none, relu, relu6.
std::optional<EpilogueFloat32> read_epilogue_float32(const StepSpec& spec);

struct ConvSpecFloat32 {
  ConvShapeFloat32 shape;
  Tensor weights;  // [O, I / groups, kh, kw]; transposed: [I, O / groups, kh, kw]
  Tensor bias;     // may be empty
  EpilogueFloat32 epilogue;
};
// conv and conv_transpose with float edges, one or two spatial dimensions, channels last, constant
// weights; dense as a 1 x 1 convolution of one pixel a row. nullopt for everything else.
std::optional<ConvSpecFloat32> read_conv_float32(const StepSpec& spec);

// A 3 x 3 convolution with stride 1 for which Winograd's transforms cost less than the products
// that they save (native_winograd_float32.cpp).
TERSOR_API bool winograd_pays(const ConvShapeFloat32& shape);

// Weights of each group as panels of kPanel output channels,
// [group][panel][kh][kw][channel][kPanel], zero-padded.
struct PackedConvFloat32 {
  Buffer weights;
  Buffer bias;         // [group][whole panels]
  int64_t panels = 0;  // of a group
  int64_t panel_floats = 0;
};
PackedConvFloat32 pack_conv_float32(const ConvSpecFloat32& spec);

// "native conv_line_float32 simd_avx2 <form>", with the precision where it is not what was asked
// for.
std::string kernel_name_float32(const char* op, const std::string& variant, const char* form,
                                const StepSpec& spec);

}  // namespace tersor::runtime
