// Kernels and tables of this room. Private to cpp/tersor/quantization.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/quantization/affine.h"

#define TERSOR_KERNELS_ROOM quantization
#define TERSOR_KERNELS_INC "tersor/quantization/kernels.inc"
#include "tersor/base/declare_kernels.inc"
