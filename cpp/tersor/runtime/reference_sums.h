// Reference steps of the operators that sum products: convolutions, dense layers, matrix products.
#pragma once

#include <memory>

#include "tersor/runtime/reference.h"
#include "tersor/runtime/reference_epilogue.h"

namespace tersor::runtime {

// `loop` knows where the operands of each output value lie: its
//   template <class Sum, class Product, class Finish>
//   void for_each_sum(Product product, Finish finish) const
// calls finish(sum of product(x offset, weight offset), channel of the bias, output offset) once
// per output value. Sums are float64 (of operands rounded to bfloat16 where that is the precision)
// or exact in int32, where both operands lose their zero points first.
template <class Loop>
std::unique_ptr<Step> make_float_sums(const StepSpec& spec, const Loop& loop) {
  return reference_step(
      spec, [in = affine_operands(spec), loop, epilogue = FloatEpilogue(spec),
             bfloat = spec.options.precision == Precision::bfloat16](const StepBuffers& buffers) {
        const auto* x = in.x.data<float>(buffers);
        const auto* weights = in.weights.data<float>(buffers);
        const float* bias = in.bias.present() ? in.bias.data<float>(buffers) : nullptr;
        const float* residual = in.residual.present() ? in.residual.data<float>(buffers) : nullptr;
        auto* y = static_cast<float*>(buffers.outputs[0]);
        const auto finish = [&](double sum, int64_t channel, int64_t at) {
          y[at] = epilogue(sum, bias, channel, residual, at);
        };
        if (bfloat) {
          loop.template for_each_sum<double>(
              [&](int64_t i, int64_t k) {
                return static_cast<double>(round_to_bfloat16(x[i])) * round_to_bfloat16(weights[k]);
              },
              finish);
        } else {
          loop.template for_each_sum<double>(
              [&](int64_t i, int64_t k) { return static_cast<double>(x[i]) * weights[k]; }, finish);
        }
      });
}

template <class Loop>
std::unique_ptr<Step> make_code_sums(const StepSpec& spec, const Loop& loop) {
  const AffineOperands in = affine_operands(spec);
  check_code_operands(spec, in);
  const int32_t zero_x = affine_of(spec, in.x.edge).zero_point;
  // Weights are symmetric; the right matrix of a matmul is an activation.
  const int32_t zero_weights =
      spec.op == Op::matmul ? affine_of(spec, in.weights.edge).zero_point : 0;
  return reference_step(spec, [=, epilogue = CodeEpilogue(spec)](const StepBuffers& buffers) {
    const auto* x = in.x.data<int8_t>(buffers);
    const auto* weights = in.weights.data<int8_t>(buffers);
    const int32_t* bias = in.bias.present() ? in.bias.data<int32_t>(buffers) : nullptr;
    const int8_t* residual = in.residual.present() ? in.residual.data<int8_t>(buffers) : nullptr;
    auto* y = static_cast<int8_t*>(buffers.outputs[0]);
    loop.template for_each_sum<int32_t>(
        [&](int64_t i, int64_t k) { return (x[i] - zero_x) * (weights[k] - zero_weights); },
        [&](int32_t sum, int64_t channel, int64_t at) {
          y[at] = epilogue(sum, bias, channel, residual, at);
        });
  });
}

template <class Loop>
std::unique_ptr<Step> make_sums(const StepSpec& spec, const Loop& loop) {
  switch (values_of(spec, 2)) {
    case Values::float32:
      return make_float_sums(spec, loop);
    case Values::int8:
      return make_code_sums(spec, loop);
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
