#define TERSOR_SIMD_NAME(op) op##_avxvnni
#include "tersor/quantization/depthwise_int8_simd.cpp"
