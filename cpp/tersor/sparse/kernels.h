// Kernels and tables of this room. Private to cpp/tersor/sparse.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/sparse/spmm.h"
#include "tersor/sparse/spmm_int8.h"
#include "tersor/sparse/spmv.h"

#define TERSOR_KERNELS_ROOM sparse
#define TERSOR_KERNELS_INC "tersor/sparse/kernels.inc"
#include "tersor/base/declare_kernels.inc"
