#define TERSOR_SIMD_NAME(op) op##_avxvnni
#include "tersor/quantization/winograd_int8_simd.cpp"
