/* Operators of generated C that pick codes by a table, and products of two activations; how it is
 * used: conv_c99.h. */

/* y[o][i] = x[o][index[i]] for [outer][size][inner] codes of x and [outer][count][inner] of y. */
static void tersor_select(const uint16_t* index, const int8_t* x, int8_t* y, int32_t outer,
                          int32_t size, int32_t count, int32_t inner) {
  int32_t o, i;
  for (o = 0; o < outer; ++o, x += size * inner) {
    for (i = 0; i < count; ++i, y += inner) memcpy(y, x + index[i] * inner, (uint32_t)inner);
  }
}

/* A product of matrices [batches][rows][depth] and [batches][depth][columns]; a step is what lies
 * between two batches, 0 where one matrix is for all. */
typedef struct {
  int32_t batches, rows, depth, columns, step_a, step_b, mantissa;
  int8_t shift, zero_a, zero_b, zero_out;
} tersor_matrices;

static void tersor_multiply_matrices(const tersor_matrices* p, const int8_t* a, const int8_t* b,
                                     int8_t* y) {
  int32_t n, r, c, k;
  for (n = 0; n < p->batches; ++n, a += p->step_a, b += p->step_b) {
    for (r = 0; r < p->rows; ++r) {
      for (c = 0; c < p->columns; ++c) {
        const int8_t *left = a + r * p->depth, *right = b + c;
        int32_t sum = 0;
        for (k = 0; k < p->depth; ++k, right += p->columns) {
          sum += (left[k] - p->zero_a) * (*right - p->zero_b);
        }
        *y++ = (int8_t)tersor_requantize(sum, p->mantissa, p->shift, p->zero_out, -128, 127);
      }
    }
  }
}
