/* Convolutions and dense layers of generated C for Arm cores with the DSP extension (Cortex-M4, M7,
 * M33): SMLAD multiplies two pairs of 16-bit values. How it is used: conv_c99.h.
 *
 * Instructions of one step of four products by two outputs by two positions: one wide load of the
 * inputs, already 16 bits, one of the weights, four SXTB16 to widen these, eight SMLAD: 14 for 16
 * products. SXTB16 splits four bytes into the even and the odd ones, so inputs are stored in the
 * order k, k + 2, k + 1, k + 3 and weights need no order of their own. Other machines run the same
 * layout in plain C. */

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

static inline int32_t tersor_code(int32_t sum, int32_t mantissa, int32_t shift, int32_t zero,
                                  int32_t low, int32_t high) {
  const int32_t scaled =
      shift < 0 ? tersor_scale_down(sum, mantissa, -shift) : tersor_scale_any(sum, mantissa, shift);
  return tersor_clamp(scaled + zero, low, high);
}

/* Four bytes as the even ones and the odd ones, 16 bits each. */
static inline void tersor_widen_4(const int8_t* from, int16_t* to) {
#if defined(__ARM_FEATURE_DSP)
  uint32_t bytes, even, odd;
  memcpy(&bytes, from, 4);
  __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(bytes));
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
  memcpy(to, &even, 4);
  memcpy(to + 2, &odd, 4);
#else
  to[0] = from[0];
  to[1] = from[2];
  to[2] = from[1];
  to[3] = from[3];
#endif
}

/* n bytes (a multiple of 4) into one of two interleaved windows. */
static int16_t* tersor_widen(const int8_t* from, int32_t n, int16_t* to) {
  for (; n > 0; n -= 4, from += 4, to += 8) tersor_widen_4(from, to);
  return to;
}

/* n values of one code into one of two interleaved windows. */
static int16_t* tersor_widen_code(int32_t code, int32_t n, int16_t* to) {
  for (; n > 0; n -= 4, to += 8) to[0] = to[1] = to[2] = to[3] = (int16_t)code;
  return to;
}

/* The input under the window at (oy, ox), widened, where the channels are a multiple of 4. */
static void tersor_gather_wide(const tersor_window* p, const int8_t* x, int32_t oy, int32_t ox,
                               int16_t* to) {
  const int32_t left = ox * p->stride_x - p->pad_left, n = p->in_channels;
  const int32_t whole = p->dilation_x == 1 && left >= 0 && left + p->kernel_width <= p->in_width;
  int32_t ky, kx;
  for (ky = 0; ky < p->kernel_height; ++ky) {
    const int32_t iy = oy * p->stride_y - p->pad_top + ky * p->dilation_y;
    const int8_t* row = x + (iy * p->in_width + left) * n;
    if (iy < 0 || iy >= p->in_height) {
      to = tersor_widen_code(p->zero_in, p->kernel_width * n, to);
    } else if (whole) {
      to = tersor_widen(row, p->kernel_width * n, to);
    } else {
      for (kx = 0; kx < p->kernel_width; ++kx, row += p->dilation_x * n) {
        const int32_t ix = left + kx * p->dilation_x;
        to = ix >= 0 && ix < p->in_width ? tersor_widen(row, n, to)
                                         : tersor_widen_code(p->zero_in, n, to);
      }
    }
  }
}

/* The same for any number of channels, through `depth` bytes. */
static void tersor_gather_bytes(const tersor_window* p, const int8_t* x, int32_t oy, int32_t ox,
                                int8_t* bytes, int16_t* to) {
  const int32_t left = ox * p->stride_x - p->pad_left, n = p->in_channels;
  const int32_t whole = p->dilation_x == 1 && left >= 0 && left + p->kernel_width <= p->in_width;
  int8_t* at = bytes;
  int32_t ky, kx;
  for (ky = 0; ky < p->kernel_height; ++ky) {
    const int32_t iy = oy * p->stride_y - p->pad_top + ky * p->dilation_y;
    const int32_t inside = iy >= 0 && iy < p->in_height;
    const int8_t* row = x + (iy * p->in_width + left) * n;
    if (inside && whole) {
      memcpy(at, row, (size_t)(p->kernel_width * n));
      at += p->kernel_width * n;
      continue;
    }
    for (kx = 0; kx < p->kernel_width; ++kx, row += p->dilation_x * n, at += n) {
      const int32_t ix = left + kx * p->dilation_x;
      if (inside && ix >= 0 && ix < p->in_width) {
        memcpy(at, row, (size_t)n);
      } else {
        memset(at, p->zero_in, (size_t)n);
      }
    }
  }
  tersor_widen(bytes, p->depth, to);
}

/* A function of assembly only: arguments are in r0 to r3, and no optimisation looks inside. */
#if defined(__clang__)
#define TERSOR_ASSEMBLY __attribute__((naked, noinline))
#else
#define TERSOR_ASSEMBLY __attribute__((naked, noipa))
#endif
#define TERSOR_REGISTER __attribute__((unused))

/* sums[2 * output + position] += two widened windows times two rows of weights, up to `end`. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_dot_2x2(const int16_t* x TERSOR_REGISTER,
                                           const int8_t* w TERSOR_REGISTER,
                                           const int16_t* end TERSOR_REGISTER,
                                           int32_t* sums TERSOR_REGISTER) {
#define TERSOR_STEP_2X2               \
  "ldmia r0!, {r8, r9, r10, r11}\n\t" \
  "ldrd r3, r12, [r1], #8\n\t"        \
  "sxtb16 lr, r3\n\t"                 \
  "sxtb16 r3, r3, ror #8\n\t"         \
  "smlad r4, r8, lr, r4\n\t"          \
  "smlad r5, r10, lr, r5\n\t"         \
  "smlad r4, r9, r3, r4\n\t"          \
  "smlad r5, r11, r3, r5\n\t"         \
  "sxtb16 lr, r12\n\t"                \
  "sxtb16 r12, r12, ror #8\n\t"       \
  "smlad r6, r8, lr, r6\n\t"          \
  "smlad r7, r10, lr, r7\n\t"         \
  "smlad r6, r9, r12, r6\n\t"         \
  "smlad r7, r11, r12, r7\n\t"
  __asm__ volatile(
      "push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "ldmia r3, {r4, r5, r6, r7}\n\t"
      "sub r12, r2, r0\n\t"
      "tst r12, #16\n\t"
      "bne 2f\n\t"
      "1:\n\t" TERSOR_STEP_2X2 "2:\n\t" TERSOR_STEP_2X2
      "cmp r0, r2\n\t"
      "bne 1b\n\t"
      "ldr r3, [sp], #4\n\t"
      "stmia r3, {r4, r5, r6, r7}\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
#undef TERSOR_STEP_2X2
}
#else
static void tersor_dot_2x2(const int16_t* x, const int8_t* w, const int16_t* end, int32_t* sums) {
  for (; x != end; x += 8, w += 8) {
    sums[0] += x[0] * w[0] + x[2] * w[1] + x[1] * w[2] + x[3] * w[3];
    sums[1] += x[4] * w[0] + x[6] * w[1] + x[5] * w[2] + x[7] * w[3];
    sums[2] += x[0] * w[4] + x[2] * w[5] + x[1] * w[6] + x[3] * w[7];
    sums[3] += x[4] * w[4] + x[6] * w[5] + x[5] * w[6] + x[7] * w[7];
  }
}
#endif

/* Weights: [output / 2][k / 4][output % 2][k % 4] codes, k runs over [window position][channel] and
 * is a multiple of 4. column: 2 * depth 16-bit values, and `depth` bytes behind them where the
 * channels are no multiple of 4. Two positions at a time: both are read before one is written. */
static void tersor_conv_dsp(const tersor_window* p, const int8_t* x, int8_t* y, int16_t* column,
                            const tersor_sum* sum, const int8_t* residual, int32_t backwards) {
  const int32_t count = p->out_height * p->out_width, outputs = p->out_channels;
  int32_t oy = backwards ? p->out_height - 1 : 0, ox = backwards ? p->out_width - 1 : 0;
  int32_t n, o, j;
  for (n = 0; n < count; n += 2) {
    const int32_t pair = n + 1 < count;
    const int32_t first = (oy * p->out_width + ox) * outputs;
    const int32_t second = backwards ? first - outputs : first + outputs;
    const int8_t* w = p->weights;
    for (j = 0; j <= pair; ++j) {
      if (p->in_channels % 4 == 0) {
        tersor_gather_wide(p, x, oy, ox, column + 4 * j);
      } else {
        tersor_gather_bytes(p, x, oy, ox, (int8_t*)(column + 2 * p->depth), column + 4 * j);
      }
      if (!backwards) {
        if (++ox == p->out_width) ox = 0, ++oy;
      } else if (ox-- == 0) {
        ox = p->out_width - 1, --oy;
      }
    }
    for (o = 0; o < outputs; w += 2 * p->depth) {
      int32_t sums[4];
      sums[0] = sums[1] = p->bias[o];
      sums[2] = sums[3] = p->bias[o + 1];
      tersor_dot_2x2(column, w, column + 2 * p->depth, sums);
      for (j = 0; j < 4 && o < outputs; j += 2, ++o) {
        const int32_t mantissa = p->mantissa[o], shift = p->shift[o];
        int32_t code = tersor_code(sums[j], mantissa, shift, p->zero_out, p->low, p->high);
        if (residual) code = tersor_add(sum, code, residual[first + o]);
        y[first + o] = (int8_t)code;
        if (pair) {
          code = tersor_code(sums[j + 1], mantissa, shift, p->zero_out, p->low, p->high);
          if (residual) code = tersor_add(sum, code, residual[second + o]);
          y[second + o] = (int8_t)code;
        }
      }
    }
  }
}

/* sums[output] += four rows of weights times codes from x up to `end`. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_dot_1x4(const int8_t* x TERSOR_REGISTER,
                                           const int8_t* w TERSOR_REGISTER,
                                           const int8_t* end TERSOR_REGISTER,
                                           int32_t* sums TERSOR_REGISTER) {
#define TERSOR_ROW_1X4(word, sum) \
  "sxtb16 lr, " word              \
  "\n\t"                          \
  "sxtb16 " word ", " word        \
  ", ror #8\n\t"                  \
  "smlad " sum ", r9, lr, " sum   \
  "\n\t"                          \
  "smlad " sum ", r8, " word ", " sum "\n\t"
  __asm__ volatile(
      "push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "ldmia r3, {r4, r5, r6, r7}\n\t"
      "1:\n\t"
      "ldr r8, [r0], #4\n\t"
      "ldmia r1!, {r3, r10, r11, r12}\n\t"
      "sxtb16 r9, r8\n\t"
      "sxtb16 r8, r8, ror #8\n\t"
      TERSOR_ROW_1X4("r3", "r4") TERSOR_ROW_1X4("r10", "r5")
      TERSOR_ROW_1X4("r11", "r6") TERSOR_ROW_1X4("r12", "r7")
      "cmp r0, r2\n\t"
      "blo 1b\n\t"
      "ldr r3, [sp], #4\n\t"
      "stmia r3, {r4, r5, r6, r7}\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
#undef TERSOR_ROW_1X4
}
#else
static void tersor_dot_1x4(const int8_t* x, const int8_t* w, const int8_t* end, int32_t* sums) {
  int32_t o;
  for (; x < end; x += 4) {
    for (o = 0; o < 4; ++o, w += 4) {
      sums[o] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
    }
  }
}
#endif

/* One position whose window is the whole input. Weights: [output / 4][k / 4][output % 4][k % 4],
 * zeros beyond the last k: up to three bytes behind the input are read and multiplied by them. */
static void tersor_dense_dsp(const tersor_window* p, const int8_t* x, int8_t* y) {
  const int8_t* w = p->weights;
  int32_t o, j;
  for (o = 0; o < p->out_channels; w += 4 * p->depth) {
    int32_t sums[4];
    for (j = 0; j < 4; ++j) sums[j] = p->bias[o + j];
    tersor_dot_1x4(x, w, x + p->depth, sums);
    for (j = 0; j < 4 && o < p->out_channels; ++j, ++o) {
      y[o] =
          (int8_t)tersor_code(sums[j], p->mantissa[o], p->shift[o], p->zero_out, p->low, p->high);
    }
  }
}

/* sums[channel] += codes * weights of four channels of one position. */
#if defined(__ARM_FEATURE_DSP)
#define TERSOR_CHANNELS_4(from, w, s0, s1, s2, s3)                           \
  do {                                                                       \
    uint32_t a_, b_, c_, d_;                                                 \
    memcpy(&a_, from, 4);                                                    \
    memcpy(&b_, w, 4);                                                       \
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(c_) : "r"(a_));                   \
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(d_) : "r"(b_));                   \
    __asm__("sxtb16 %0, %1" : "=r"(a_) : "r"(a_));                           \
    __asm__("sxtb16 %0, %1" : "=r"(b_) : "r"(b_));                           \
    __asm__("smlabb %0, %1, %2, %3" : "=r"(s0) : "r"(a_), "r"(b_), "r"(s0)); \
    __asm__("smlatt %0, %1, %2, %3" : "=r"(s2) : "r"(a_), "r"(b_), "r"(s2)); \
    __asm__("smlabb %0, %1, %2, %3" : "=r"(s1) : "r"(c_), "r"(d_), "r"(s1)); \
    __asm__("smlatt %0, %1, %2, %3" : "=r"(s3) : "r"(c_), "r"(d_), "r"(s3)); \
  } while (0)
#else
#define TERSOR_CHANNELS_4(from, w, s0, s1, s2, s3) \
  do {                                             \
    s0 += (from)[0] * (w)[0];                      \
    s1 += (from)[1] * (w)[1];                      \
    s2 += (from)[2] * (w)[2];                      \
    s3 += (from)[3] * (w)[3];                      \
  } while (0)
#endif

/* A multiple of 4 channels, each with one output. Weights: [channel / 4][position][channel % 4].
 * offsets: one per position of the window, and behind them a row of zero points, which stands for
 * what lies outside of the input. */
static void tersor_depthwise_dsp(const tersor_window* p, const int8_t* x, int8_t* y,
                                 int32_t* offsets, int32_t backwards) {
  const int32_t taps = p->kernel_height * p->kernel_width, channels = p->in_channels;
  const int32_t outside = (int32_t)((int8_t*)(offsets + taps) - x);
  int32_t r, q, c, t, ky, kx, j;
  memset(offsets + taps, p->zero_in, (size_t)channels);
  for (r = 0; r < p->out_height; ++r) {
    const int32_t oy = backwards ? p->out_height - 1 - r : r;
    const int32_t top = oy * p->stride_y - p->pad_top;
    for (q = 0; q < p->out_width; ++q) {
      const int32_t ox = backwards ? p->out_width - 1 - q : q;
      const int32_t left = ox * p->stride_x - p->pad_left;
      const int8_t* w = p->weights;
      int8_t* to = y + (oy * p->out_width + ox) * channels;
      int32_t* at = offsets;
      for (ky = 0; ky < p->kernel_height; ++ky) {
        const int32_t iy = top + ky * p->dilation_y;
        int32_t ix = left;
        for (kx = 0; kx < p->kernel_width; ++kx, ix += p->dilation_x) {
          *at++ = iy >= 0 && iy < p->in_height && ix >= 0 && ix < p->in_width
                      ? (iy * p->in_width + ix) * channels
                      : outside;
        }
      }
      for (c = 0; c < channels; c += 4) {
        int32_t s0 = p->bias[c], s1 = p->bias[c + 1], s2 = p->bias[c + 2], s3 = p->bias[c + 3];
        int32_t sums[4];
        for (t = 0; t < taps; ++t, w += 4) {
          TERSOR_CHANNELS_4(x + offsets[t] + c, w, s0, s1, s2, s3);
        }
        sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
        for (j = 0; j < 4; ++j) {
          to[c + j] = (int8_t)tersor_code(sums[j], p->mantissa[c + j], p->shift[c + j], p->zero_out,
                                          p->low, p->high);
        }
      }
    }
  }
}
