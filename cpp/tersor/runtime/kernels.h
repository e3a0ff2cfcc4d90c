// Kernels and tables of this room. Private to cpp/tersor/runtime.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/runtime/conv_float32.h"
#include "tersor/runtime/winograd_float32.h"

#define TERSOR_KERNELS_ROOM runtime
#define TERSOR_KERNELS_INC "tersor/runtime/kernels.inc"
#include "tersor/base/declare_kernels.inc"
