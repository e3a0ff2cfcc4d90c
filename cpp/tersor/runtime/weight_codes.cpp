#include "tersor/runtime/weight_codes.h"

#include "tersor/graph/weight_codes.h"

namespace tersor::runtime {

bool has_weight_codes(const StepSpec& spec) {
  if (!graph::takes_weight_codes(spec.op) || !spec.inputs.at(0) || !spec.inputs.at(1)) return false;
  const PlanEdge& w = *spec.inputs[1];
  return w.constant && w.qparams && spec.inputs[0]->dtype == DType::float32 &&
         spec.outputs.at(0)->dtype == DType::float32;
}

bool is_dynamic(const StepSpec& spec) {
  return spec.op == Op::dense && spec.attributes.has("dynamic") &&
         spec.attributes.integer("dynamic") != 0;
}

PlanEdge decoded_weight(const PlanEdge& weight) {
  PlanEdge edge = weight;
  edge.constant = graph::real_values(weight.constant, *weight.qparams);
  edge.dtype = DType::float32;
  edge.qparams.reset();
  return edge;
}

}  // namespace tersor::runtime
