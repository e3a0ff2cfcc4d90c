// Kernels and tables of this room. Private to cpp/tersor/reconstruction.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/reconstruction/moments.h"
#include "tersor/reconstruction/obs.h"

#define TERSOR_KERNELS_ROOM reconstruction
#define TERSOR_KERNELS_INC "tersor/reconstruction/kernels.inc"
#include "tersor/base/declare_kernels.inc"
