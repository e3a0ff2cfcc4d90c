#include "tersor/runtime/native.h"

namespace tersor::runtime {

std::unique_ptr<Step> make_dense_step(const StepSpec& spec) {
  static constexpr StepFactory makers[] = {
      make_native_depthwise_float32_step,
      make_native_winograd_float32_step,
      make_native_conv_float32_step,
      make_native_matmul_float32_step,
      make_native_conv_int8_step,
      make_native_binary_step,
      make_native_unary_step,
      make_native_quantize_step,
      make_native_pool_step,
      make_native_rows_step,
      make_native_move_step,
  };
  for (const StepFactory make : makers) {
    if (auto step = make(spec)) return step;
  }
  return nullptr;
}

std::unique_ptr<Step> make_native_step(const StepSpec& spec) {
  if (auto step = make_native_sparse_float32_step(spec)) return step;
  if (auto step = make_native_sparse_int8_step(spec)) return step;
  return make_dense_step(spec);
}

std::unique_ptr<Step> make_sparse_step(const StepSpec& spec) {
  auto step = make_sparse_float32_step(spec);
  return step ? std::move(step) : make_sparse_int8_step(spec);
}

}  // namespace tersor::runtime
