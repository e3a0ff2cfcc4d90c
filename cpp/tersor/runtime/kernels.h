// Kernels and tables of this room. Private to cpp/tersor/runtime.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/runtime/conv_float32.h"
#include "tersor/runtime/depthwise_float32.h"
#include "tersor/runtime/elementwise_codes.h"
#include "tersor/runtime/elementwise_float32.h"
#include "tersor/runtime/pool_window.h"
#include "tersor/runtime/rows_float32.h"
#include "tersor/runtime/shift_planes.h"
#include "tersor/runtime/transpose.h"
#include "tersor/runtime/winograd_float32.h"

#define TERSOR_KERNELS_ROOM runtime
#define TERSOR_KERNELS_INC "tersor/runtime/kernels.inc"
#include "tersor/base/declare_kernels.inc"
