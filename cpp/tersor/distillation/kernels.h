// Kernels and tables of this room. Private to cpp/tersor/distillation.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/distillation/attention.h"
#include "tersor/distillation/bfloat16.h"
#include "tersor/distillation/few_classes.h"
#include "tersor/distillation/jsd.h"
#include "tersor/distillation/mse.h"
#include "tersor/distillation/relational.h"
#include "tersor/distillation/softened.h"

#define TERSOR_KERNELS_ROOM distillation
#define TERSOR_KERNELS_INC "tersor/distillation/kernels.inc"
#include "tersor/base/declare_kernels.inc"
