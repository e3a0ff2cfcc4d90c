#include "tersor/pruning/kernels.h"

#define TERSOR_KERNELS_ROOM pruning
#define TERSOR_KERNELS_INC "tersor/pruning/kernels.inc"
#include "tersor/base/define_kernels.inc"
