#include "tersor/codebook/kernels.h"

#define TERSOR_KERNELS_ROOM codebook
#define TERSOR_KERNELS_INC "tersor/codebook/kernels.inc"
#include "tersor/base/define_kernels.inc"
