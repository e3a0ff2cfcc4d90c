// Kernels and tables of this room. Private to cpp/tersor/pruning.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/pruning/keys.h"

#define TERSOR_KERNELS_ROOM pruning
#define TERSOR_KERNELS_INC "tersor/pruning/kernels.inc"
#include "tersor/base/declare_kernels.inc"
