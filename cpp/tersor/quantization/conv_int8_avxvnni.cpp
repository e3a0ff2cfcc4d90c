#define TERSOR_SIMD_NAME(op) op##_avxvnni
#include "tersor/quantization/conv_int8_simd.cpp"
