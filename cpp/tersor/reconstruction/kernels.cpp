#include "tersor/reconstruction/kernels.h"

#define TERSOR_KERNELS_ROOM reconstruction
#define TERSOR_KERNELS_INC "tersor/reconstruction/kernels.inc"
#include "tersor/base/define_kernels.inc"
