// The native provider: tersor's own kernels. It asks a list of makers, best first; each returns nullptr for
// what it does not support or where another is better. A new family adds its maker here and in native.cpp.
#pragma once

#include <memory>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

}  // namespace tersor::runtime
