/* Operators of generated C that sum no products with weights; how it is used: conv_c99.h. */

/* y[i] = a[i] + b[i % period], or minus. */
static void tersor_add_tensors(const tersor_sum* s, const int8_t* a, const int8_t* b, int8_t* y,
                               int32_t n, int32_t period) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i) {
    y[i] = (int8_t)tersor_add(s, a[i], b[j]);
    if (++j == period) j = 0;
  }
}

/* A product of two codes. */
typedef struct {
  int32_t mantissa;
  int8_t shift, zero_a, zero_b, zero_out, low, high;
} tersor_product;

/* y[i] = a[i] * b[i % period] */
static void tersor_multiply_tensors(const tersor_product* p, const int8_t* a, const int8_t* b,
                                    int8_t* y, int32_t n, int32_t period) {
  int32_t i, j = 0;
  for (i = 0; i < n; ++i) {
    y[i] = (int8_t)tersor_requantize((a[i] - p->zero_a) * (b[j] - p->zero_b), p->mantissa, p->shift,
                                     p->zero_out, p->low, p->high);
    if (++j == period) j = 0;
  }
}

/* y[i] = table[x[i] + 128] */
static void tersor_map(const int8_t* table, const int8_t* x, int8_t* y, int32_t n) {
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = table[x[i] + 128];
}

/* A pooling window; `padded` counts padding as values of the zero point. */
typedef struct {
  int16_t in_height, in_width, channels, out_height, out_width;
  int16_t kernel_height, kernel_width, stride_y, stride_x, pad_top, pad_left, pad_bottom, pad_right;
  int8_t zero, padded;
} tersor_pool;

static int32_t tersor_first(int32_t begin) { return begin < 0 ? 0 : begin; }

static int32_t tersor_last(int32_t end, int32_t size) { return end < size ? end : size; }

static void tersor_max_pool(const tersor_pool* p, const int8_t* x, int8_t* y, int32_t backwards) {
  int32_t r, q, c, iy, ix;
  for (r = 0; r < p->out_height; ++r) {
    const int32_t oy = backwards ? p->out_height - 1 - r : r;
    const int32_t top = oy * p->stride_y - p->pad_top;
    const int32_t bottom = tersor_last(top + p->kernel_height, p->in_height);
    for (q = 0; q < p->out_width; ++q) {
      const int32_t ox = backwards ? p->out_width - 1 - q : q;
      const int32_t left = ox * p->stride_x - p->pad_left;
      const int32_t right = tersor_last(left + p->kernel_width, p->in_width);
      int8_t* to = y + (oy * p->out_width + ox) * p->channels;
      for (c = 0; c < p->channels; ++c) {
        int32_t best = -128;
        for (iy = tersor_first(top); iy < bottom; ++iy) {
          for (ix = tersor_first(left); ix < right; ++ix) {
            const int32_t code = x[(iy * p->in_width + ix) * p->channels + c];
            if (code > best) best = code;
          }
        }
        to[c] = (int8_t)best;
      }
    }
  }
}

static void tersor_average_pool(const tersor_pool* p, const int8_t* x, int8_t* y,
                                int32_t backwards) {
  int32_t r, q, c, iy, ix;
  for (r = 0; r < p->out_height; ++r) {
    const int32_t oy = backwards ? p->out_height - 1 - r : r;
    const int32_t top = oy * p->stride_y - p->pad_top;
    const int32_t bottom = tersor_last(top + p->kernel_height, p->in_height);
    const int32_t rows = tersor_last(top + p->kernel_height, p->in_height + p->pad_bottom) - top;
    for (q = 0; q < p->out_width; ++q) {
      const int32_t ox = backwards ? p->out_width - 1 - q : q;
      const int32_t left = ox * p->stride_x - p->pad_left;
      const int32_t right = tersor_last(left + p->kernel_width, p->in_width);
      const int32_t columns =
          tersor_last(left + p->kernel_width, p->in_width + p->pad_right) - left;
      const int32_t height = bottom - tersor_first(top), width = right - tersor_first(left);
      const int32_t inside = height > 0 && width > 0 ? height * width : 0;
      const int32_t count = p->padded ? rows * columns : inside;
      int8_t* to = y + (oy * p->out_width + ox) * p->channels;
      for (c = 0; c < p->channels; ++c) {
        int32_t sum = p->zero * (count - inside);
        for (iy = tersor_first(top); iy < bottom; ++iy) {
          for (ix = tersor_first(left); ix < right; ++ix) {
            sum += x[(iy * p->in_width + ix) * p->channels + c];
          }
        }
        to[c] = (int8_t)tersor_average(sum, count > 0 ? count : 1);
      }
    }
  }
}

/* A mean over the middle of [outer][count][inner]; offset = count * zero point of x. */
typedef struct {
  int32_t outer, count, inner, offset, mantissa;
  int8_t shift, zero_out;
} tersor_mean;

static void tersor_reduce_mean(const tersor_mean* p, const int8_t* x, int8_t* y) {
  int32_t o, k, i;
  for (o = 0; o < p->outer; ++o, x += p->count * p->inner) {
    for (i = 0; i < p->inner; ++i) {
      int32_t sum = -p->offset;
      for (k = 0; k < p->count; ++k) sum += x[k * p->inner + i];
      *y++ = (int8_t)tersor_requantize(sum, p->mantissa, p->shift, p->zero_out, -128, 127);
    }
  }
}

/* The largest code over the middle of [outer][count][inner]. */
static void tersor_reduce_max(const int8_t* x, int8_t* y, int32_t outer, int32_t count,
                              int32_t inner) {
  int32_t o, k, i;
  for (o = 0; o < outer; ++o, x += count * inner) {
    for (i = 0; i < inner; ++i) {
      int32_t best = -128;
      for (k = 0; k < count; ++k) {
        if (x[k * inner + i] > best) best = x[k * inner + i];
      }
      *y++ = (int8_t)best;
    }
  }
}

/* Softmax along the middle of [outer][length][inner]. */
static void tersor_softmax_lines(const int8_t* x, int8_t* y, int32_t outer, int32_t length,
                                 int32_t inner, const uint32_t* table) {
  int32_t o, i;
  for (o = 0; o < outer; ++o) {
    for (i = 0; i < inner; ++i) {
      const int32_t at = o * length * inner + i;
      tersor_softmax(x + at, y + at, length, inner, table);
    }
  }
}

/* y[i * to] = x[i * from] for every index i of a box with five dimensions. */
typedef struct {
  int32_t size[5], from[5], to[5];
} tersor_box;

static void tersor_copy(const tersor_box* b, const int8_t* x, int8_t* y) {
  int32_t i, j, k, l, m;
  for (i = 0; i < b->size[0]; ++i) {
    for (j = 0; j < b->size[1]; ++j) {
      for (k = 0; k < b->size[2]; ++k) {
        for (l = 0; l < b->size[3]; ++l) {
          const int8_t* from =
              x + i * b->from[0] + j * b->from[1] + k * b->from[2] + l * b->from[3];
          int8_t* to = y + i * b->to[0] + j * b->to[1] + k * b->to[2] + l * b->to[3];
          for (m = 0; m < b->size[4]; ++m) to[m * b->to[4]] = from[m * b->from[4]];
        }
      }
    }
  }
}
