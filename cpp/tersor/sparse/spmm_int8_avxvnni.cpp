#define TERSOR_SIMD_NAME(op) op##_avxvnni
#include "tersor/sparse/spmm_int8_avx512vnni.cpp"
