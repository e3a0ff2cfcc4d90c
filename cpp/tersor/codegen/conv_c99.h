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

/* tersor_scale of a sum by 2^-right, 1 <= right: equal where |x| + 2^(right - 1) < 2^31, which the
 * generator has checked. Half is rounded away from zero: -1 is added to negative values first. */
static inline int32_t tersor_scale_down(int32_t x, int32_t mantissa, int32_t right) {
  const int32_t high = (int32_t)(((int64_t)x * mantissa + (1 << 30)) >> 31);
  return (high + (high >> 31) + ((1 << right) >> 1)) >> right;
}

/* A channel whose sums may be too large for that, or whose multiplier is 1/2 or more, is marked by
 * 64 added to its shift. */
static int32_t tersor_scale_any(int32_t x, int32_t mantissa, int32_t shift) {
  return tersor_scale(x, mantissa, shift - 64);
}

/* The code of a sum. */
static inline int32_t tersor_code(int32_t sum, int32_t mantissa, int32_t shift, int32_t zero,
                                  int32_t low, int32_t high) {
  const int32_t scaled =
      shift < 0 ? tersor_scale_down(sum, mantissa, -shift) : tersor_scale_any(sum, mantissa, shift);
  return tersor_clamp(scaled + zero, low, high);
}

/* x * mantissa / 2^31, rounded, of half of `twice`. */
static inline int32_t tersor_high_of_half(int32_t twice, int32_t mantissa) {
#if defined(__ARM_FEATURE_DSP)
  int32_t high;
  __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(twice), "r"(mantissa));
  return high;
#else
  return (int32_t)(((int64_t)twice * mantissa + ((int64_t)1 << 31)) >> 32);
#endif
}

static inline int32_t tersor_round_down(int32_t x, int32_t right) {
  return (x + (x >> 31) + ((1 << right) >> 1)) >> right;
}

/* tersor_add_codes where the shift of the sum is below 0; those of the operands are never above. */
static inline int32_t tersor_add_fast(const tersor_sum* s, int32_t a, int32_t b) {
  const int32_t zero_a = s->zero_a, zero_b = s->zero_b;
  a = tersor_high_of_half((a - zero_a) * (1 << 21), s->mantissa_a);
  b = tersor_high_of_half((b - zero_b) * (1 << 21), s->mantissa_b);
  if (s->shift_a) a = tersor_round_down(a, -s->shift_a);
  if (s->shift_b) b = tersor_round_down(b, -s->shift_b);
  a = tersor_high_of_half((a + s->sign * b) * 2, s->mantissa);
  return tersor_clamp(tersor_round_down(a, -s->shift) + s->zero_out, s->low, s->high);
}

/* A sum of codes. */
static int32_t tersor_add(const tersor_sum* s, int32_t a, int32_t b) {
  if (s->shift < 0) return tersor_add_fast(s, a, b);
  return tersor_add_codes(a - s->zero_a, b - s->zero_b, s->sign, s->mantissa_a, s->shift_a,
                          s->mantissa_b, s->shift_b, s->mantissa, s->shift, s->zero_out, s->low,
                          s->high);
}

/* Keeps a compiler from mixing steps, which takes more registers than a Cortex-M0 has. */
#if defined(__GNUC__)
#define TERSOR_STEP(a, b) __asm__("" : "+r"(a), "+r"(b))
#define TERSOR_APART __attribute__((noinline))
#else
#define TERSOR_STEP(a, b) (void)0
#define TERSOR_APART
#endif

/* n codes as bytes code + 128, which a core without signed byte loads reads at any offset. Returns
 * their sum. */
TERSOR_APART static uint32_t tersor_copy_bytes(const int8_t* from, uint8_t* to, int32_t n) {
  const uint8_t* at = (const uint8_t*)from;
  uint32_t sum = 0, byte;
#if !defined(__SIZEOF_INT128__) || \
    defined(__wasm__) /* 64-bit machines: a plain loop becomes vectors */
  for (; n >= 4; n -= 4, at += 4, to += 4) {
    sum += byte = at[0] ^ 0x80u;
    to[0] = (uint8_t)byte;
    sum += byte = at[1] ^ 0x80u;
    to[1] = (uint8_t)byte;
    sum += byte = at[2] ^ 0x80u;
    to[2] = (uint8_t)byte;
    sum += byte = at[3] ^ 0x80u;
    to[3] = (uint8_t)byte;
  }
#endif
  for (; n > 0; --n) {
    sum += byte = *at++ ^ 0x80u;
    *to++ = (uint8_t)byte;
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

/* Bytes of a window as the products take them: 64-bit machines have room for 16-bit values, which
 * compilers multiply in vectors. */
#if defined(__SIZEOF_INT128__) && !defined(__wasm__)
typedef int16_t tersor_value;
#else
typedef uint8_t tersor_value;
#endif

/* Adds the products of one window with two rows of weights, all bytes, modulo 2^32. */
#if defined(__SIZEOF_INT128__) && !defined(__wasm__)
static void tersor_dot_2(const tersor_value* x, const uint8_t* w, int32_t depth, uint32_t* sums) {
  const uint8_t* v = w + depth;
  int32_t a = 0, b = 0;
  int32_t k;
  for (k = 0; k < depth; ++k) {
    a += x[k] * w[k];
    b += x[k] * v[k];
  }
  sums[0] += (uint32_t)a;
  sums[1] += (uint32_t)b;
}
#else
#define TERSOR_PRODUCTS(k) \
  t = x[k];                \
  a += t * w[k];           \
  b += t * v[k];           \
  TERSOR_STEP(a, b)
TERSOR_APART static void tersor_dot_2(const tersor_value* x, const uint8_t* w, int32_t depth,
                                      uint32_t* sums) {
  const uint8_t* v = w + depth;
  const uint8_t* const end = v;
  uint32_t a = sums[0], b = sums[1], t;
  while (w != end) {
    TERSOR_PRODUCTS(0);
    TERSOR_PRODUCTS(1);
    TERSOR_PRODUCTS(2);
    TERSOR_PRODUCTS(3);
    TERSOR_PRODUCTS(4);
    TERSOR_PRODUCTS(5);
    TERSOR_PRODUCTS(6);
    TERSOR_PRODUCTS(7);
    x += 8;
    w += 8;
    v += 8;
  }
  sums[0] = a;
  sums[1] = b;
}
#endif

/* One output position: every output channel, from bytes whose sum is `offset` / 128. `residual`
 * (or null) is added to the codes. */
static void tersor_outputs(const tersor_window* p, const uint8_t* column, uint32_t offset,
                           int32_t first, int32_t channels, int8_t* y, const tersor_sum* sum,
                           const int8_t* residual) {
  const uint8_t* w = (const uint8_t*)p->weights + first * p->depth;
  int32_t o;
#if defined(__SIZEOF_INT128__) && !defined(__wasm__)
  int16_t values[32768];
  for (o = 0; o < p->depth; ++o) values[o] = column[o];
#else
  const uint8_t* values = column;
#endif
  for (o = 0; o < channels; o += 2, w += 2 * p->depth) {
    const int32_t last = channels - o < 2 ? channels - o : 2;
    uint32_t sums[2];
    int32_t j;
    sums[0] = (uint32_t)p->bias[first + o] - offset;
    sums[1] = (uint32_t)p->bias[first + o + 1] - offset;
    tersor_dot_2(values, w, p->depth, sums);
    for (j = 0; j < last; ++j) {
      const int32_t at = first + o + j;
      int32_t code = tersor_code((int32_t)sums[j], p->mantissa[at], p->shift[at], p->zero_out,
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
