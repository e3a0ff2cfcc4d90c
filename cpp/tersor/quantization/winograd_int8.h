// Minimal filtering F(4 x 4, 3 x 3) in exact integers: 36 products for 16 outputs instead of 144.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, eq. (8), with the
// points 0, 1, -1, 2, -2, infinity. One dimension, u = G' w, v = B^T d, y = A'^T (u * v):
//
//   G' = [ 6  0  0]   B^T = [4  0 -5  0 1 0]   A'^T = [1 4  4 1  1 0]  = 24 y0
//        [-1 -1 -1]         [0 -4 -4  1 1 0]          [0 2 -2 1 -1 0]  = 12 y1
//        [-1  1 -1]         [0  4 -4 -1 1 0]          [0 1  1 1  1 0]  =  6 y2
//        [ 1  2  4]         [0 -2 -1  2 1 0]          [0 1 -1 2 -2 1]  =  6 y3
//        [ 1 -2  4]         [0  2 -1 -2 1 0]
//        [ 0  0  6]         [0  4  0 -5 0 1]
//
// Why it is exact: |d| <= 255 and |w| <= 128 give |v| <= 100 * 255 = 25500 and |u| <= 49 * 128 =
// 6272, so both are int16. Everything after that is arithmetic modulo 2^32: the result is acc * 9 *
// 2^s with s <= 6; a product with the inverse of 9 leaves acc * 2^s, which an arithmetic shift
// undoes if |acc| < 2^25. 36 * bias added to the product at point (1, 1) adds the bias to every
// output.
#pragma once

#include <cstdint>

namespace tersor::quantization {

inline constexpr int64_t kWinogradSumLimit = int64_t{1} << 25;

// One 3 x 3 filter (row-major) to its 36 transformed weights.
void transform_filter(const int8_t w[9], int16_t u[36]);

}  // namespace tersor::quantization
