#define TERSOR_SIMD_NAME(op) op##_avx512vnni
#include "tersor/quantization/winograd_int8_simd.cpp"
