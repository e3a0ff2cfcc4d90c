#include <cmath>

#include "tersor/quantization/requantize.h"
#include "tersor/runtime/reference.h"

namespace tersor::runtime {
namespace {

// NaN in either operand gives NaN.
double smaller(double a, double b) { return a != a || a < b ? a : b; }
double larger(double a, double b) { return a != a || a > b ? a : b; }

double binary_function(Op op, double a, double b) {
  switch (op) {
    case Op::add:
      return a + b;
    case Op::sub:
      return a - b;
    case Op::mul:
      return a * b;
    case Op::div:
      return a / b;
    case Op::minimum:
      return smaller(a, b);
    case Op::maximum:
      return larger(a, b);
    case Op::pow:
      return std::pow(a, b);
    default:
      return a < 0 ? a * b : a;  // prelu
  }
}

// combine(offset in a, offset in b, offset in output) for every output value.
template <class Combine>
void broadcast(const Shape& output, const Shape& a_strides, const Shape& b_strides,
               Combine combine) {
  int64_t at = 0;
  for_each_index(output, [&](const Shape& index) {
    combine(offset_of(index, a_strides), offset_of(index, b_strides), at++);
  });
}

std::unique_ptr<Step> make_float(const StepSpec& spec) {
  const Shape& shape = spec.outputs[0]->shape;
  const Range range = activation_range(spec, activation_of(spec));
  return reference_step(spec, [=, op = spec.op, a = operand(spec, 0), b = operand(spec, 1),
                               a_strides = broadcast_strides(spec.inputs.at(0)->shape, shape),
                               b_strides = broadcast_strides(spec.inputs.at(1)->shape, shape)](
                                  const StepBuffers& buffers) {
    const auto* left = a.data<float>(buffers);
    const auto* right = b.data<float>(buffers);
    auto* out = static_cast<float*>(buffers.outputs[0]);
    broadcast(shape, a_strides, b_strides, [&](int64_t i, int64_t j, int64_t at) {
      out[at] = static_cast<float>(clamp_to(range, binary_function(op, left[i], right[j])));
    });
  });
}

// y = combine(code of a, code of b).
template <class Combine>
std::unique_ptr<Step> make_codes(const StepSpec& spec, Combine combine) {
  const Shape& shape = spec.outputs[0]->shape;
  return reference_step(spec, [=, a = operand(spec, 0), b = operand(spec, 1),
                               a_strides = broadcast_strides(spec.inputs.at(0)->shape, shape),
                               b_strides = broadcast_strides(spec.inputs.at(1)->shape, shape)](
                                  const StepBuffers& buffers) {
    const auto* left = a.data<int8_t>(buffers);
    const auto* right = b.data<int8_t>(buffers);
    auto* out = static_cast<int8_t*>(buffers.outputs[0]);
    broadcast(shape, a_strides, b_strides, [&](int64_t i, int64_t j, int64_t at) {
      out[at] = static_cast<int8_t>(combine(left[i], right[j]));
    });
  });
}

std::unique_ptr<Step> make_codes(const StepSpec& spec) {
  const Affine a = affine_of(spec, *spec.inputs[0]);
  const Affine b = affine_of(spec, *spec.inputs[1]);
  const QParams& output = *spec.outputs[0]->qparams;
  const Affine y = affine_of(spec, *spec.outputs[0]);
  const bool exact = spec.options.arithmetic == Arithmetic::exact;
  const auto range = quantization::activation_codes(activation_of(spec), output);
  if (spec.op == Op::mul) {
    const auto requantizer = quantization::requantizer(
        quantization::requantize_multiplier(a.scale, b.scale, y.scale), output, range);
    const bool integers = exact || requantizer.often_ties();
    return make_codes(spec, [=](int32_t left, int32_t right) {
      const int32_t product = (left - a.zero_point) * (right - b.zero_point);
      return integers ? requantizer.exact(product) : requantizer.fast(product);
    });
  }
  const auto adder = quantization::code_adder(*spec.inputs[0]->qparams, *spec.inputs[1]->qparams,
                                              output, spec.op == Op::sub, range);
  return make_codes(spec, [=](int32_t left, int32_t right) {
    return exact ? adder.exact(left, right) : adder.fast(left, right);
  });
}

}  // namespace

std::unique_ptr<Step> make_reference_binary_step(const StepSpec& spec) {
  const bool has_codes = graph::spec_of(spec.op).constraint != graph::QuantConstraint::none;
  switch (values_of(spec, 2)) {
    case Values::float32:
      return make_float(spec);
    case Values::int8:
      if (has_codes) return make_codes(spec);
      [[fallthrough]];
    default:
      refuse_types(spec);
  }
}

}  // namespace tersor::runtime
