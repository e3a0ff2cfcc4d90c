// Kernels and tables of this room. Private to cpp/tersor/quantization.
#pragma once

#include "tersor/base/kernel_table.h"
#include "tersor/quantization/affine.h"
#include "tersor/quantization/affine_float_zero.h"
#include "tersor/quantization/cast.h"
#include "tersor/quantization/conv_int8_kernels.h"
#include "tersor/quantization/dense_codes_kernels.h"
#include "tersor/quantization/dense_dynamic_kernels.h"
#include "tersor/quantization/fake_quantize.h"
#include "tersor/quantization/histogram.h"
#include "tersor/quantization/lsq.h"
#include "tersor/quantization/min_max.h"
#include "tersor/quantization/range_search.h"

#define TERSOR_KERNELS_ROOM quantization
#define TERSOR_KERNELS_INC "tersor/quantization/kernels.inc"
#include "tersor/base/declare_kernels.inc"
