// Kernels and tables of this room. Private to cpp/tersor/coding.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/coding/bit_packing.h"
#include "tersor/coding/rans.h"

#define TERSOR_KERNELS_ROOM coding
#define TERSOR_KERNELS_INC "tersor/coding/kernels.inc"
#include "tersor/base/declare_kernels.inc"
