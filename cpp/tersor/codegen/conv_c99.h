/* Convolutions and dense layers of generated C, portable: any 32-bit machine without vectors.
 *
 * Not compiled into the library: the C generator copies what a network uses, one paragraph of this
 * file at a time, behind the text of quantization/requantize_c99.h. Tensors are [y][x][channel]
 * codes. `backwards` computes the last position first, for outputs that slide over their input. */

/* A sliding window. bias[o] holds what does not depend on the input: the zero point's share and
 * that of the offset of 128 in bytes. Field `depth`: products of one output, in whole groups. */
typedef struct {
  const int8_t* weights;
  const int32_t* bias;
  const int32_t* mantissa;
  const int8_t* shift;
  int16_t in_height, in_width, in_channels, out_height, out_width, out_channels;
  int16_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x;
  int16_t pad_top, pad_left, groups, depth;
  int8_t zero_in, zero_out, low, high;
} tersor_window;

/* The sum of two codes, as tersor_add_codes takes it. */
typedef struct {
  int32_t mantissa_a, mantissa_b, mantissa;
  int8_t shift_a, shift_b, shift, sign, zero_a, zero_b, zero_out, low, high;
} tersor_sum;

static int32_t tersor_add(const tersor_sum* s, int32_t a, int32_t b) {
  return tersor_add_codes(a - s->zero_a, b - s->zero_b, s->sign, s->mantissa_a, s->shift_a,
                          s->mantissa_b, s->shift_b, s->mantissa, s->shift, s->zero_out, s->low,
                          s->high);
}

/* n codes as bytes code + 128, which a core without signed byte loads reads at any offset. Returns
 * their sum. */
static uint32_t tersor_copy_bytes(const int8_t* from, uint8_t* to, int32_t n) {
  uint32_t sum = 0;
  int32_t i;
  for (i = 0; i < n; ++i) {
    const uint32_t byte = (uint8_t)from[i] ^ 0x80u;
    to[i] = (uint8_t)byte;
    sum += byte;
  }
  return sum;
}

/* The input under the window at (oy, ox), channels [first, first + channels), as bytes; outside of
 * the input lies its zero point. Returns their sum. */
static uint32_t tersor_gather(const tersor_window* p, const int8_t* x, int32_t oy, int32_t ox,
                              int32_t first, int32_t channels, uint8_t* column) {
  const int32_t left = ox * p->stride_x - p->pad_left;
  const int32_t whole = p->dilation_x == 1 && channels == p->in_channels && left >= 0 &&
                        left + p->kernel_width <= p->in_width;
  const uint32_t zero = (uint8_t)p->zero_in ^ 0x80u;
  uint32_t sum = 0;
  int32_t ky, kx;
  for (ky = 0; ky < p->kernel_height; ++ky) {
    const int32_t iy = oy * p->stride_y - p->pad_top + ky * p->dilation_y;
    const int8_t* row = x + iy * p->in_width * p->in_channels + first;
    const int32_t inside = iy >= 0 && iy < p->in_height;
    if (inside && whole) {
      const int32_t n = p->kernel_width * channels;
      sum += tersor_copy_bytes(row + left * channels, column, n);
      column += n;
      continue;
    }
    for (kx = 0; kx < p->kernel_width; ++kx) {
      const int32_t ix = left + kx * p->dilation_x;
      if (inside && ix >= 0 && ix < p->in_width) {
        sum += tersor_copy_bytes(row + ix * p->in_channels, column, channels);
      } else {
        memset(column, (int)zero, (size_t)channels);
        sum += zero * (uint32_t)channels;
      }
      column += channels;
    }
  }
  return sum;
}

/* Adds the products of one window with two rows of weights, all bytes, modulo 2^32. */
static void tersor_dot_2(const uint8_t* x, const uint8_t* w, int32_t depth, uint32_t* sums) {
  const uint8_t* v = w + depth;
  uint32_t a = sums[0], b = sums[1];
  int32_t k;
#if defined(__SIZEOF_INT128__)
  /* 64-bit machines: loops without steps become vectors. */
  for (k = 0; k < depth; ++k) {
    a += (uint32_t)(x[k] * w[k]);
    b += (uint32_t)(x[k] * v[k]);
  }
#else
  for (k = depth; k > 0; k -= 4) {
    a += (uint32_t)x[0] * w[0];
    b += (uint32_t)x[0] * v[0];
    a += (uint32_t)x[1] * w[1];
    b += (uint32_t)x[1] * v[1];
    a += (uint32_t)x[2] * w[2];
    b += (uint32_t)x[2] * v[2];
    a += (uint32_t)x[3] * w[3];
    b += (uint32_t)x[3] * v[3];
    x += 4;
    w += 4;
    v += 4;
  }
#endif
  sums[0] = a;
  sums[1] = b;
}

/* One output position: every output channel, from bytes whose sum is `offset` / 128. `residual`
 * (or null) is added to the codes. */
static void tersor_outputs(const tersor_window* p, const uint8_t* column, uint32_t offset,
                           int32_t first, int32_t channels, int8_t* y, const tersor_sum* sum,
                           const int8_t* residual) {
  const uint8_t* w = (const uint8_t*)p->weights + first * p->depth;
  int32_t o;
  for (o = 0; o < channels; o += 2, w += 2 * p->depth) {
    const int32_t last = channels - o < 2 ? channels - o : 2;
    uint32_t sums[2];
    int32_t j;
    sums[0] = (uint32_t)p->bias[first + o] - offset;
    sums[1] = (uint32_t)p->bias[first + o + 1] - offset;
    tersor_dot_2(column, w, p->depth, sums);
    for (j = 0; j < last; ++j) {
      const int32_t at = first + o + j;
      int32_t code = tersor_requantize((int32_t)sums[j], p->mantissa[at], p->shift[at], p->zero_out,
                                       p->low, p->high);
      if (residual) code = tersor_add(sum, code, residual[at]);
      y[at] = (int8_t)code;
    }
  }
}

/* Weights: [output][window position][channel] bytes code + 128, rows of `depth`, a last row beyond
 * an odd number of outputs. column: `depth` bytes, whose end beyond the window is cleared here. */
static void tersor_conv(const tersor_window* p, const int8_t* x, int8_t* y, uint8_t* column,
                        const tersor_sum* sum, const int8_t* residual, int32_t backwards) {
  const int32_t inputs = p->in_channels / p->groups, outputs = p->out_channels / p->groups;
  int32_t r, c, g;
  memset(column, 0, (size_t)p->depth);
  for (r = 0; r < p->out_height; ++r) {
    const int32_t oy = backwards ? p->out_height - 1 - r : r;
    for (c = 0; c < p->out_width; ++c) {
      const int32_t ox = backwards ? p->out_width - 1 - c : c;
      const int32_t at = (oy * p->out_width + ox) * p->out_channels;
      for (g = 0; g < p->groups; ++g) {
        const uint32_t bytes = tersor_gather(p, x, oy, ox, g * inputs, inputs, column);
        tersor_outputs(p, column, bytes << 7, g * outputs, outputs, y + at, sum,
                       residual ? residual + at : 0);
      }
    }
  }
}

/* Each input channel makes out_channels / in_channels outputs of its own. Weights: [y][x][output]
 * codes; bias is as the network has it. */
static void tersor_depthwise(const tersor_window* p, const int8_t* x, int8_t* y,
                             int32_t backwards) {
  const int32_t multiplier = p->out_channels / p->in_channels;
  int32_t r, c, o, ky, kx;
  for (r = 0; r < p->out_height; ++r) {
    const int32_t oy = backwards ? p->out_height - 1 - r : r;
    const int32_t top = oy * p->stride_y - p->pad_top;
    for (c = 0; c < p->out_width; ++c) {
      const int32_t ox = backwards ? p->out_width - 1 - c : c;
      const int32_t left = ox * p->stride_x - p->pad_left;
      int8_t* to = y + (oy * p->out_width + ox) * p->out_channels;
      int32_t channel = 0, copies = 0;
      for (o = 0; o < p->out_channels; ++o) {
        const int8_t* w = p->weights + o;
        int32_t sum = p->bias[o];
        for (ky = 0; ky < p->kernel_height; ++ky) {
          const int32_t iy = top + ky * p->dilation_y;
          const int8_t* row = x + iy * p->in_width * p->in_channels + channel;
          for (kx = 0; kx < p->kernel_width; ++kx, w += p->out_channels) {
            const int32_t ix = left + kx * p->dilation_x;
            if (iy < 0 || iy >= p->in_height || ix < 0 || ix >= p->in_width) continue;
            sum += (row[ix * p->in_channels] - p->zero_in) * *w;
          }
        }
        to[o] = (int8_t)tersor_requantize(sum, p->mantissa[o], p->shift[o], p->zero_out, p->low,
                                          p->high);
        if (++copies == multiplier) {
          copies = 0;
          ++channel;
        }
      }
    }
  }
}
