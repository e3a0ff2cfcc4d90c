#define TERSOR_SIMD_NAME(op) op##_avxvnni
#include "tersor/quantization/conv_u8s8_avx512vnni.cpp"
