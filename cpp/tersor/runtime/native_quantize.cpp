// quantize, dequantize and requantize per tensor.
#include "tersor/quantization/kernels.h"
#include "tersor/quantization/requantize.h"
#include "tersor/runtime/function_step.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/native_support.h"

namespace tersor::runtime {
namespace {

bool per_tensor(const PlanEdge& edge) { return edge.qparams && edge.qparams->scale.size() == 1; }

std::unique_ptr<Step> make_quantize(const StepSpec& spec) {
  const QParams& q = *spec.outputs[0]->qparams;
  return std::make_unique<FunctionStep>(
      native_kernel_name(quantization::quantize_affine_table),
      [x = operand(spec, 0), size = spec.outputs[0]->size(), scale = q.scale[0],
       zero_point = q.zero_point[0], low = q.code_min(), high = q.code_max(),
       kernel = quantization::quantize_affine_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<int8_t*>(buffers.outputs[0]);
        split(buffers.threads, size, kElementGrain, [&](int64_t begin, int64_t end) {
          kernel(in + begin, out + begin, static_cast<size_t>(end - begin), scale, zero_point, low,
                 high);
        });
      });
}

std::unique_ptr<Step> make_dequantize(const StepSpec& spec) {
  const QParams& q = *spec.inputs[0]->qparams;
  return std::make_unique<FunctionStep>(
      native_kernel_name(quantization::dequantize_affine_table),
      [x = operand(spec, 0), size = spec.outputs[0]->size(), scale = q.scale[0],
       zero_point = q.zero_point[0],
       kernel = quantization::dequantize_affine_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<int8_t>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        split(buffers.threads, size, kElementGrain, [&](int64_t begin, int64_t end) {
          kernel(in + begin, out + begin, static_cast<size_t>(end - begin), scale, zero_point, 0);
        });
      });
}

std::unique_ptr<Step> make_requantize(const StepSpec& spec) {
  const Affine x = affine_of(spec, *spec.inputs[0]);
  const Affine y = affine_of(spec, *spec.outputs[0]);
  const QParams& output = *spec.outputs[0]->qparams;
  const auto requantizer =
      quantization::requantizer(quantization::requantize_multiplier(x.scale, 1, y.scale), output,
                                {output.code_min(), output.code_max()});
  // A table has room for the exact form in both arithmetics.
  std::array<int8_t, 256> table;
  for (int code = -128; code < 128; ++code) {
    table[static_cast<size_t>(code + 128)] =
        static_cast<int8_t>(requantizer.exact(code - x.zero_point));
  }
  return make_native_table_step(spec, table);
}

}  // namespace

std::unique_ptr<Step> make_native_quantize_step(const StepSpec& spec) {
  if (spec.op != Op::quantize && spec.op != Op::dequantize && spec.op != Op::requantize)
    return nullptr;
  const PlanEdge &x = *spec.inputs[0], &y = *spec.outputs[0];
  const bool from_codes = x.dtype == DType::int8 && per_tensor(x);
  const bool to_codes = y.dtype == DType::int8 && per_tensor(y);
  const bool even = spec.op == Op::quantize && spec.attributes.text("ties") == "even";
  if (even && x.dtype == DType::float32 && to_codes) return make_quantize(spec);
  if (spec.op == Op::dequantize && from_codes && y.dtype == DType::float32)
    return make_dequantize(spec);
  if (spec.op == Op::requantize && from_codes && to_codes) return make_requantize(spec);
  return nullptr;
}

}  // namespace tersor::runtime
