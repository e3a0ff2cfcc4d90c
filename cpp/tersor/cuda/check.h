// Failures of the CUDA runtime as exceptions.
#pragma once

#include <cuda_runtime.h>

#include "tersor/base/error.h"

// TERSOR_CUDA_CHECK("quantize", cudaGetLastError());
#define TERSOR_CUDA_CHECK(op, call)                                                           \
  do {                                                                                        \
    const cudaError_t tersor_status = (call);                                                 \
    TERSOR_CHECK_AS(DeviceError, tersor_status == cudaSuccess, op, ": CUDA says ",            \
                    cudaGetErrorName(tersor_status), " (", cudaGetErrorString(tersor_status), \
                    ")");                                                                     \
  } while (false)
