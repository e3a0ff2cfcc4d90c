// Functions of one value: float32 kernels, tables on int8 codes.
#include "tersor/graph/unary_function.h"

#include <limits>

#include "tersor/runtime/function_step.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/native_support.h"

namespace tersor::runtime {
namespace {

struct Formula {
  UnaryFunction function;
  float a = 0, b = 0;
};

Formula formula_of(const StepSpec& spec) {
  const auto real = [&](const char* name) {
    return static_cast<float>(spec.attributes.real(name));
  };
  switch (spec.op) {
    case Op::relu:
      return {UnaryFunction::clip, 0, std::numeric_limits<float>::infinity()};
    case Op::clip:
      return {UnaryFunction::clip, real("min"), real("max")};
    case Op::leaky_relu:
      return {UnaryFunction::leaky_relu, real("alpha")};
    case Op::elu:
      return {UnaryFunction::elu, real("alpha")};
    case Op::sigmoid:
      return {UnaryFunction::sigmoid};
    case Op::hard_sigmoid:
      return {UnaryFunction::hard_sigmoid, real("alpha"), real("beta")};
    case Op::hard_swish:
      return {UnaryFunction::hard_swish};
    case Op::silu:
      return {UnaryFunction::silu};
    case Op::gelu:
      return {spec.attributes.text("approximate") == "tanh" ? UnaryFunction::gelu_tanh
                                                            : UnaryFunction::gelu};
    case Op::tanh:
      return {UnaryFunction::tanh};
    case Op::erf:
      return {UnaryFunction::erf};
    case Op::exp:
      return {UnaryFunction::exp};
    case Op::log:
      return {UnaryFunction::log};
    case Op::sqrt:
      return {UnaryFunction::sqrt};
    case Op::neg:
      return {UnaryFunction::neg};
    case Op::abs:
      return {UnaryFunction::abs};
    default:
      return {UnaryFunction::softplus};
  }
}

std::unique_ptr<Step> make_float(const StepSpec& spec) {
  return std::make_unique<FunctionStep>(
      native_kernel_name(unary_float32_table),
      [x = operand(spec, 0), size = spec.outputs[0]->size(), f = formula_of(spec),
       kernel = unary_float32_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        split(buffers.threads, size, kElementGrain, [&](int64_t begin, int64_t end) {
          kernel(f.function, in + begin, out + begin, static_cast<size_t>(end - begin), f.a, f.b);
        });
      },
      true);
}

}  // namespace

std::unique_ptr<Step> make_native_table_step(const StepSpec& spec,
                                             const std::array<int8_t, 256>& table) {
  return std::make_unique<FunctionStep>(
      native_kernel_name(map_codes_table),
      [x = operand(spec, 0), size = spec.outputs[0]->size(), table,
       kernel = map_codes_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<int8_t>(buffers);
        auto* out = static_cast<int8_t*>(buffers.outputs[0]);
        split(buffers.threads, size, kElementGrain, [&](int64_t begin, int64_t end) {
          kernel(in + begin, out + begin, static_cast<size_t>(end - begin), table.data());
        });
      },
      true, table.size());
}

std::unique_ptr<Step> make_native_unary_step(const StepSpec& spec) {
  if (!graph::is_unary_function(spec.op)) return nullptr;
  const Values values = values_of(spec, 1);
  if (values == Values::float32) return make_float(spec);
  if (values != Values::int8 || graph::spec_of(spec.op).constraint == graph::QuantConstraint::none)
    return nullptr;
  const QParams &in = *spec.inputs[0]->qparams, &out = *spec.outputs[0]->qparams;
  if (in.scale.size() != 1 || out.scale.size() != 1) return nullptr;
  return make_native_table_step(spec, graph::unary_table(spec.op, spec.attributes, in, out));
}

}  // namespace tersor::runtime
