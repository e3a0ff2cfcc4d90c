#include "tersor/base/kernels.h"

#define TERSOR_KERNELS_ROOM base
#define TERSOR_KERNELS_INC "tersor/base/kernels.inc"
#include "tersor/base/define_kernels.inc"
