#include "tersor/sparse/kernels.h"

#define TERSOR_KERNELS_ROOM sparse
#define TERSOR_KERNELS_INC "tersor/sparse/kernels.inc"
#include "tersor/base/define_kernels.inc"
