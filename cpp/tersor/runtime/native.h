// The native provider: tersor's own kernels. It asks a list of makers in turn; each returns nullptr
// for what it does not support or where another is better. A new family adds its maker here and in
// native.cpp.
#pragma once

#include <array>
#include <memory>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// fp32 (and bf16 computed in fp32). Depthwise and Winograd decline what the direct form does
// better.
std::unique_ptr<Step> make_native_sparse_float32_step(const StepSpec& spec);  // where it pays
std::unique_ptr<Step> make_native_depthwise_float32_step(const StepSpec& spec);
std::unique_ptr<Step> make_native_winograd_float32_step(const StepSpec& spec);
std::unique_ptr<Step> make_native_conv_float32_step(const StepSpec& spec);  // and dense
std::unique_ptr<Step> make_native_matmul_float32_step(const StepSpec& spec);

std::unique_ptr<Step> make_native_sparse_int8_step(const StepSpec& spec);  // where it pays
std::unique_ptr<Step> make_native_conv_int8_step(
    const StepSpec& spec);  // and depthwise, dense; fast and exact
std::unique_ptr<Step> make_native_binary_step(const StepSpec& spec);  // add ... prelu
std::unique_ptr<Step> make_native_unary_step(const StepSpec& spec);   // relu ... softplus
std::unique_ptr<Step> make_native_quantize_step(
    const StepSpec& spec);  // quantize, dequantize, requantize
std::unique_ptr<Step> make_native_pool_step(const StepSpec& spec);  // max_pool, avg_pool
std::unique_ptr<Step> make_native_rows_step(const StepSpec& spec);  // softmax, layer_norm, reduce_*
std::unique_ptr<Step> make_native_move_step(
    const StepSpec& spec);  // concat, slice, pad, transpose ...

// From the entries of the weights, whether it pays or not.
std::unique_ptr<Step> make_sparse_float32_step(const StepSpec& spec);
std::unique_ptr<Step> make_sparse_int8_step(const StepSpec& spec);

// y = table[x + 128] on int8 edges.
std::unique_ptr<Step> make_native_table_step(const StepSpec& spec,
                                             const std::array<int8_t, 256>& table);

}  // namespace tersor::runtime
