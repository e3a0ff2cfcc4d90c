// Gradients in the hands of an autograd system: computed with the loss, scaled later.
#pragma once

#include <cstddef>

#include "tersor/base/export.h"
#include "tersor/distillation/logits.h"

namespace tersor::distillation {

// gradient[i] *= factor, rounded once; nothing is touched for a factor of 1.
TERSOR_API void scale_gradient(void* gradient, LogitType type, std::size_t n, float factor);

}  // namespace tersor::distillation
