#include "tersor/runtime/reference_epilogue.h"

#include <cstring>

namespace tersor::runtime {

AffineOperands affine_operands(const StepSpec& spec) {
  const size_t count = spec.inputs.size() - (spec.post_add ? 1 : 0);
  AffineOperands out{operand(spec, 0), operand(spec, 1), {}, {}};
  if (count > 2) out.bias = operand(spec, 2);
  if (spec.post_add) out.residual = operand(spec, count);
  return out;
}

FloatEpilogue::FloatEpilogue(const StepSpec& spec)
    : activation_(activation_range(
          spec, spec.attributes.has("activation") ? spec.attributes.text("activation") : "none")),
      post_activation_(activation_range(spec, spec.post_activation)) {}

float round_to_bfloat16(float x) {
  if (x != x) return x;
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&x, &bits, 4);
  return x;
}

}  // namespace tersor::runtime
