// Where a sparse kernel is faster than the dense one: the break-even table.
#pragma once

#include "tersor/base/export.h"
#include "tersor/quantization/conv_int8.h"
#include "tersor/runtime/conv_lines.h"
#include "tersor/tensor/tensor.h"

namespace tersor::runtime {

// Share of the values of a float32 tensor that are not 0; 1 for an empty one.
double density_of(const Tensor& weights);

// Whether a convolution or dense layer with that share of its weights runs faster from its sparse
// form. Costs are modelled from the operations of both forms, with rates of the instruction set
// measured by benchmarks/sparse/bench_session.py.
TERSOR_API bool sparse_pays(const ConvShapeFloat32& shape, double density);

// The same for int8 codes; density is the share of the words of four weights that are not 0.
TERSOR_API bool sparse_pays_int8(const quantization::ConvInt8Shape& shape, double density);

// Version of the table; it changes with its rates and with the kernels.
inline constexpr int kBreakEvenVersion = 2;

}  // namespace tersor::runtime
