#include "tersor/coding/kernels.h"

#define TERSOR_KERNELS_ROOM coding
#define TERSOR_KERNELS_INC "tersor/coding/kernels.inc"
#include "tersor/base/define_kernels.inc"
