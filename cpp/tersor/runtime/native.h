// The native provider: tersor's own kernels. It asks a list of makers, best first; each returns nullptr for
// what it does not support or where another is better. A new family adds its maker here and in native.cpp.
#pragma once

#include <memory>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

// fp32 (and bf16 computed in fp32). Depthwise and Winograd decline what the direct form does better.
std::unique_ptr<Step> make_native_depthwise_float32_step(const StepSpec& spec);
std::unique_ptr<Step> make_native_winograd_float32_step(const StepSpec& spec);
std::unique_ptr<Step> make_native_conv_float32_step(const StepSpec& spec);  // and dense

std::unique_ptr<Step> make_native_conv_int8_step(const StepSpec& spec);  // and depthwise, dense; fast and exact

}  // namespace tersor::runtime
