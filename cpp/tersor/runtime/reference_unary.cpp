#include "tersor/graph/unary_function.h"

#include "tersor/runtime/reference.h"

namespace tersor::runtime {

std::unique_ptr<Step> make_reference_unary_step(const StepSpec& spec) {
  const Operand x = operand(spec, 0);
  const int64_t size = spec.outputs[0]->size();
  const Values values = values_of(spec, 1);
  if (values == Values::float32) {
    return reference_step(
        spec, [=, op = spec.op, attributes = spec.attributes](const StepBuffers& buffers) {
          const auto* in = x.data<float>(buffers);
          auto* out = static_cast<float*>(buffers.outputs[0]);
          for (int64_t i = 0; i < size; ++i) {
            out[i] = static_cast<float>(graph::unary_function(op, attributes, in[i]));
          }
        });
  }
  if (values != Values::int8 ||
      graph::spec_of(spec.op).constraint == graph::QuantConstraint::none) {
    refuse_types(spec);
  }
  affine_of(spec, *spec.inputs[0]);
  affine_of(spec, *spec.outputs[0]);
  const auto table = graph::unary_table(spec.op, spec.attributes, *spec.inputs[0]->qparams,
                                        *spec.outputs[0]->qparams);
  return reference_step(spec, [=](const StepBuffers& buffers) {
    const auto* in = x.data<int8_t>(buffers);
    auto* out = static_cast<int8_t*>(buffers.outputs[0]);
    for (int64_t i = 0; i < size; ++i) out[i] = table[static_cast<size_t>(in[i] + 128)];
  });
}

}  // namespace tersor::runtime
