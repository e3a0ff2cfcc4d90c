#include "tersor/runtime/kernels.h"

#define TERSOR_KERNELS_ROOM runtime
#define TERSOR_KERNELS_INC "tersor/runtime/kernels.inc"
#include "tersor/base/define_kernels.inc"
