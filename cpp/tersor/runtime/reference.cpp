#include "tersor/runtime/reference.h"

#include "tersor/base/error.h"
#include "tersor/graph/unary_function.h"

namespace tersor::runtime {

std::string reference_kernel_name(const StepSpec& spec) {
  std::string name =
      message("reference ", graph::name_of(spec.op), " ", name_of(spec.outputs[0]->dtype));
  if (spec.outputs[0]->dtype == DType::int8 && spec.options.arithmetic == Arithmetic::exact)
    name += " exact";
  return name;
}

std::unique_ptr<Step> make_reference_step(const StepSpec& spec) {
  if (graph::is_unary_function(spec.op)) return make_reference_unary_step(spec);
  switch (spec.op) {
    case Op::conv:
    case Op::conv_transpose:
      return make_reference_conv_step(spec);
    case Op::dense:
    case Op::matmul:
      return make_reference_dense_step(spec);
    case Op::batch_norm:
    case Op::layer_norm:
    case Op::softmax:
    case Op::log_softmax:
      return make_reference_normalize_step(spec);
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::minimum:
    case Op::maximum:
    case Op::pow:
    case Op::prelu:
      return make_reference_binary_step(spec);
    case Op::max_pool:
    case Op::avg_pool:
      return make_reference_pool_step(spec);
    case Op::reduce_mean:
    case Op::reduce_sum:
    case Op::reduce_max:
      return make_reference_reduce_step(spec);
    case Op::concat:
    case Op::slice:
    case Op::pad:
    case Op::gather:
    case Op::reshape:
    case Op::transpose:
    case Op::expand:
    case Op::identity:
      return make_reference_move_step(spec);
    case Op::resize:
      return make_reference_resize_step(spec);
    case Op::cast:
    case Op::quantize:
    case Op::dequantize:
    case Op::requantize:
      return make_reference_quantize_step(spec);
    default:
      break;
  }
  refuse(spec, "has no reference");
}

}  // namespace tersor::runtime
