// Kernels and tables of this room. Private to cpp/tersor/base.
#pragma once

#include "tersor/base/crc32c.h"
#include "tersor/base/kernel_table.h"

#define TERSOR_KERNELS_ROOM base
#define TERSOR_KERNELS_INC "tersor/base/kernels.inc"
#include "tersor/base/declare_kernels.inc"
