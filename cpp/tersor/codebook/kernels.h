// Kernels and tables of this room. Private to cpp/tersor/codebook.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/codebook/assign.h"
#include "tersor/codebook/bins.h"
#include "tersor/codebook/companded_bins.h"
#include "tersor/codebook/lookup_columns.h"
#include "tersor/codebook/lookup_dense.h"
#include "tersor/codebook/partition.h"
#include "tersor/codebook/product.h"

#define TERSOR_KERNELS_ROOM codebook
#define TERSOR_KERNELS_INC "tersor/codebook/kernels.inc"
#include "tersor/base/declare_kernels.inc"
