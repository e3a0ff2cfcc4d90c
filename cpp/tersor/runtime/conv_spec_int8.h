// An int8 convolution or dense layer as tersor's own makers read it from a StepSpec.
#pragma once

#include <optional>

#include "tersor/quantization/conv_int8.h"
#include "tersor/runtime/conv_lines.h"
#include "tersor/runtime/step.h"

namespace tersor::runtime {

struct ConvSpecInt8 {
  quantization::ConvInt8Shape shape;
  const int8_t* weights;  // [O, I / groups, kh, kw], of the spec
  const int32_t* bias;    // or null
  int32_t zero_point;     // of the input
  quantization::ConvInt8Epilogue epilogue;
  int residual = -1;  // index of the input, -1: none
};

// conv and dense of int8 codes, per-tensor activations and symmetric weights; dense as a 1 x 1
// convolution of one pixel a row. nullopt for everything else.
std::optional<ConvSpecInt8> read_conv_int8(const StepSpec& spec);

// The shape with words of four input channels instead of channels.
ConvShapeFloat32 shape_in_words(const quantization::ConvInt8Shape& shape);

}  // namespace tersor::runtime
