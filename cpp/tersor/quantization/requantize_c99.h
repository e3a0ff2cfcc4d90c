/* The exact integer arithmetic of int8 networks, in C99: the simulator, every kernel and generated
 * C agree to the last bit because they all use this text. Needs <stdint.h>; depends on nothing else
 * and may be included inside a namespace. Formulas as in TFLite Micro with double rounding. */

/* round(a * b / 2^31), ties away from zero for positive and towards zero for negative products. */
static inline int32_t tersor_multiply_high(int32_t a, int32_t b) {
  const int64_t product = (int64_t)a * b;
  const int64_t nudge = product >= 0 ? (1 << 30) : 1 - (1 << 30);
  if (a == b && a == INT32_MIN) return INT32_MAX;
  return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

/* round(x / 2^exponent), ties away from zero; 0 <= exponent <= 31. */
static inline int32_t tersor_divide_by_power(int32_t x, int32_t exponent) {
  const int32_t mask = (int32_t)(((int64_t)1 << exponent) - 1);
  const int32_t remainder = x & mask;
  const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

/* x * mantissa * 2^(shift - 31), rounded twice. A left shift saturates, so that a sum far outside
 * of the codes keeps its sign. */
static inline int32_t tersor_scale(int32_t x, int32_t mantissa, int32_t shift) {
  if (shift > 0) {
    const int64_t wide = (int64_t)x * ((int64_t)1 << shift);
    x = wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
    return tersor_multiply_high(x, mantissa);
  }
  return tersor_divide_by_power(tersor_multiply_high(x, mantissa), -shift);
}

static inline int32_t tersor_clamp(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}

/* The code of an accumulator. */
static inline int32_t tersor_requantize(int32_t sum, int32_t mantissa, int32_t shift,
                                        int32_t zero_point, int32_t low, int32_t high) {
  return tersor_clamp(tersor_scale(sum, mantissa, shift) + zero_point, low, high);
}

/* a and b are codes without their zero points; 20 more bits keep the rounding of the first scaling
 * far below a code. sign: 1 adds, -1 subtracts. */
static inline int32_t tersor_add_codes(int32_t a, int32_t b, int32_t sign, int32_t mantissa_a,
                                       int32_t shift_a, int32_t mantissa_b, int32_t shift_b,
                                       int32_t mantissa, int32_t shift, int32_t zero_point,
                                       int32_t low, int32_t high) {
  const int32_t scaled_a = tersor_scale(a * (1 << 20), mantissa_a, shift_a);
  const int32_t scaled_b = tersor_scale(b * (1 << 20), mantissa_b, shift_b);
  return tersor_requantize(scaled_a + sign * scaled_b, mantissa, shift, zero_point, low, high);
}

/* round(sum / count), ties away from zero. */
static inline int32_t tersor_average(int32_t sum, int32_t count) {
  return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

/* Softmax of `count` codes `stride` apart, to codes of scale 1/256 and zero point -128.
 * table[d] = round(2^23 * exp(-scale * d)), so every quotient is the rounded one of these integers.
 */
static inline void tersor_softmax(const int8_t* x, int8_t* y, int64_t count, int64_t stride,
                                  const uint32_t* table) {
  int32_t largest = -128;
  uint64_t sum = 0;
  int64_t i;
  for (i = 0; i < count; ++i) {
    if (x[i * stride] > largest) largest = x[i * stride];
  }
  for (i = 0; i < count; ++i) sum += table[largest - x[i * stride]];
  for (i = 0; i < count; ++i) {
    const uint64_t quotient = ((uint64_t)table[largest - x[i * stride]] * 256 + sum / 2) / sum;
    y[i * stride] = (int8_t)((quotient > 255 ? 255 : (int32_t)quotient) - 128);
  }
}
