#include "tersor/quantization/kernels.h"

#define TERSOR_KERNELS_ROOM quantization
#define TERSOR_KERNELS_INC "tersor/quantization/kernels.inc"
#include "tersor/base/define_kernels.inc"
