#include "tersor/distillation/kernels.h"

#define TERSOR_KERNELS_ROOM distillation
#define TERSOR_KERNELS_INC "tersor/distillation/kernels.inc"
#include "tersor/base/define_kernels.inc"
