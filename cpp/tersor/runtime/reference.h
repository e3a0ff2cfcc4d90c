// The reference provider, one maker per family of operators: plain scalar code, the truth for
// passes, kernels and generated C. Formulas: docs/reference/operators.md.
//
// Floats are accumulated in double precision in index order and rounded once. Sessions of
// Precision::bfloat16 round the operands of conv, conv_transpose, dense and matmul to bfloat16.
// int8 follows quantization/requantize.h in `fast` and `exact` arithmetic.
#pragma once

#include <memory>
#include <string>

#include "tersor/runtime/function_step.h"
#include "tersor/runtime/operand.h"

namespace tersor::runtime {

std::unique_ptr<Step> make_reference_conv_step(const StepSpec& spec);   // conv, conv_transpose
std::unique_ptr<Step> make_reference_dense_step(const StepSpec& spec);  // dense, matmul
std::unique_ptr<Step> make_reference_normalize_step(
    const StepSpec& spec);  // batch_norm, layer_norm, softmax ...
std::unique_ptr<Step> make_reference_binary_step(const StepSpec& spec);  // add ... pow, prelu
std::unique_ptr<Step> make_reference_unary_step(const StepSpec& spec);   // relu ... softplus
std::unique_ptr<Step> make_reference_pool_step(const StepSpec& spec);    // max_pool, avg_pool
std::unique_ptr<Step> make_reference_reduce_step(const StepSpec& spec);  // reduce_*
std::unique_ptr<Step> make_reference_move_step(
    const StepSpec& spec);  // concat, slice, pad ... identity
std::unique_ptr<Step> make_reference_resize_step(const StepSpec& spec);
std::unique_ptr<Step> make_reference_quantize_step(
    const StepSpec& spec);  // quantize ... requantize, cast

// "reference conv int8 exact"
std::string reference_kernel_name(const StepSpec& spec);

template <class Body>
std::unique_ptr<Step> reference_step(const StepSpec& spec, Body body) {
  return std::make_unique<FunctionStep>(reference_kernel_name(spec), std::move(body));
}

// Calls visit(multi-index) for every index of `shape` in row-major order.
template <class Visit>
void for_each_index(const Shape& shape, Visit visit) {
  for (int64_t d : shape) {
    if (d == 0) return;
  }
  Shape index(shape.size(), 0);
  while (true) {
    visit(index);
    size_t i = shape.size();
    while (i > 0 && ++index[i - 1] == shape[i - 1]) index[--i] = 0;
    if (i == 0) return;
  }
}

inline int64_t offset_of(const Shape& index, const Shape& strides) {
  int64_t offset = 0;
  for (size_t i = 0; i < index.size(); ++i) offset += index[i] * strides[i];
  return offset;
}

}  // namespace tersor::runtime
