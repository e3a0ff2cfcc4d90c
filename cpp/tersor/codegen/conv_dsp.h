/* Convolutions and dense layers of generated C for Arm cores with the DSP extension (Cortex-M4, M7,
 * M33): SMLAD multiplies two pairs of 16-bit values. How it is used: conv_c99.h.
 *
 * Instructions of one step of four products by two outputs by two positions: one wide load of the
 * inputs, already 16 bits, one of the weights, four SXTB16 to widen these, eight SMLAD: 14 for 16
 * products. SXTB16 splits four bytes into the even and the odd ones, so inputs are stored in the
 * order k, k + 2, k + 1, k + 3 and weights need no order of their own. Other machines run the same
 * layout in plain C. */

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
#define TERSOR_ASSEMBLY __attribute__((naked, noinline, unused))
#else
#define TERSOR_ASSEMBLY __attribute__((naked, noipa, unused))
#endif
#define TERSOR_REGISTER __attribute__((unused))

/* One step of four products: inputs at r0, weights at r1, sums in r4 to r7. */
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

/* sums[2 * output + position] += two widened windows times two rows of weights, up to `end`. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_dot_2x2(const int16_t* x TERSOR_REGISTER,
                                           const int8_t* w TERSOR_REGISTER,
                                           const int16_t* end TERSOR_REGISTER,
                                           int32_t* sums TERSOR_REGISTER) {
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

/* A sum to its code; mantissa, -shift - 1 and the offset in registers. */
#define TERSOR_CODE(sum, mantissa, right) \
  "lsl " sum ", " sum                     \
  ", #1\n\t"                              \
  "smmulr " sum ", " sum ", " mantissa    \
  "\n\t"                                  \
  "add " sum ", " sum ", " sum            \
  ", asr #31\n\t"                         \
  "asr " sum ", " sum ", " right          \
  "\n\t"                                  \
  "add " sum ", " sum                     \
  ", r12\n\t"                             \
  "ssat " sum ", #8, " sum ", asr #1\n\t"

/* Codes of two positions, two output channels at a time. channels: for each pair of channels its
 * biases, then mantissa and -shift - 1 of the first and of the second; offset: 1 + 2 * zero point.
 */
typedef struct {
  const int32_t* channels;
  int8_t *first, *second;
  int32_t pairs, offset;
  const uint32_t* pairs_of; /* tersor_rows_codes only */
} tersor_rows;

/* Products of two widened windows, up to `end`, with all rows of weights, and their codes. Sums are
 * below 2^30, so SMMULR of the doubled sum is tersor_multiply_high; half is rounded away from zero
 * as in tersor_scale_down: (x + 2^(r - 1)) >> r = ((x >> (r - 1)) + 1) >> 1, whose last step SSAT
 * does. `second` is written before `first`, and may be the same. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_rows_2x2(const int16_t* x TERSOR_REGISTER,
                                            const int8_t* w TERSOR_REGISTER,
                                            const int16_t* end TERSOR_REGISTER,
                                            tersor_rows* rows TERSOR_REGISTER) {
  __asm__ volatile(
      "push {r0, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "1:\n\t"
      "ldr r3, [sp, #4]\n\t"
      "ldr r12, [r3]\n\t"
      "ldrd r4, r6, [r12], #8\n\t"
      "str r12, [r3]\n\t"
      "sub r12, r2, r0\n\t"
      "mov r5, r4\n\t"
      "mov r7, r6\n\t"
      "tst r12, #16\n\t"
      "bne 3f\n\t"
      "2:\n\t" TERSOR_STEP_2X2 "3:\n\t" TERSOR_STEP_2X2
      "cmp r0, r2\n\t"
      "bne 2b\n\t"
      "ldr r3, [sp, #4]\n\t"
      "ldmia r3, {r8, r9, r10, r11, r12}\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r5", "r0", "lr") TERSOR_CODE("r4", "r0", "lr")
      "strb r5, [r10], #1\n\t"
      "strb r4, [r9], #1\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r7", "r0", "lr") TERSOR_CODE("r6", "r0", "lr")
      "strb r7, [r10], #1\n\t"
      "strb r6, [r9], #1\n\t"
      "ldr r0, [sp]\n\t"
      "subs r11, #1\n\t"
      "stmia r3, {r8, r9, r10, r11}\n\t"
      "bne 1b\n\t"
      "add sp, #8\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}
#else
static void tersor_rows_2x2(const int16_t* x, const int8_t* w, const int16_t* end,
                            tersor_rows* rows) {
  int32_t j;
  for (; rows->pairs > 0; --rows->pairs, w += (end - x), rows->channels += 6) {
    const int32_t* channel = rows->channels;
    int32_t sums[4];
    sums[0] = sums[1] = channel[0];
    sums[2] = sums[3] = channel[1];
    tersor_dot_2x2(x, w, end, sums);
    for (j = 0; j < 2; ++j) {
      const int32_t mantissa = channel[2 + 2 * j], right = channel[3 + 2 * j] + 1;
      const int32_t zero = rows->offset >> 1;
      const int32_t second = tersor_scale_down(sums[2 * j + 1], mantissa, right) + zero;
      const int32_t first = tersor_scale_down(sums[2 * j], mantissa, right) + zero;
      *rows->second++ = (int8_t)tersor_clamp(second, -128, 127);
      *rows->first++ = (int8_t)tersor_clamp(first, -128, 127);
    }
  }
}
#endif

/* Two positions of the output, and how to go on to the next two. */
typedef struct {
  int32_t y, x, backwards;
} tersor_walk;

static tersor_walk tersor_start(const tersor_window* p, int32_t backwards) {
  tersor_walk at;
  at.y = backwards ? p->out_height - 1 : 0;
  at.x = backwards ? p->out_width - 1 : 0;
  at.backwards = backwards;
  return at;
}

/* Windows of the next `count` positions, 1 or 2, widened. */
static void tersor_gather_next(const tersor_window* p, const int8_t* x, int32_t count,
                               tersor_walk* at, int16_t* column) {
  int32_t j;
  for (j = 0; j < count; ++j, column += 4) {
    if (p->in_channels % 4 == 0) {
      tersor_gather_wide(p, x, at->y, at->x, column);
    } else {
      tersor_gather_bytes(p, x, at->y, at->x, (int8_t*)(column + 2 * p->depth - 4 * j), column);
    }
    if (!at->backwards) {
      if (++at->x == p->out_width) at->x = 0, ++at->y;
    } else if (at->x-- == 0) {
      at->x = p->out_width - 1, --at->y;
    }
  }
}

/* One step of four products: inputs at r0, codes at r1, table in r2, sums in r4 to r7. */
#define TERSOR_STEP_CODES             \
  "ldmia r0!, {r8, r9, r10, r11}\n\t" \
  "ldr r3, [r1], #4\n\t"              \
  "uxtb r12, r3\n\t"                  \
  "ldr r12, [r2, r12, lsl #2]\n\t"    \
  "uxtb lr, r3, ror #8\n\t"           \
  "ldr lr, [r2, lr, lsl #2]\n\t"      \
  "smlad r4, r8, r12, r4\n\t"         \
  "smlad r5, r10, r12, r5\n\t"        \
  "smlad r4, r9, lr, r4\n\t"          \
  "smlad r5, r11, lr, r5\n\t"         \
  "uxtb r12, r3, ror #16\n\t"         \
  "ldr r12, [r2, r12, lsl #2]\n\t"    \
  "lsr r3, r3, #24\n\t"               \
  "ldr r3, [r2, r3, lsl #2]\n\t"      \
  "smlad r6, r8, r12, r6\n\t"         \
  "smlad r7, r10, r12, r7\n\t"        \
  "smlad r6, r9, r3, r6\n\t"          \
  "smlad r7, r11, r3, r7\n\t"

/* As tersor_rows_2x2, with weights as 4-bit codes: a byte holds the codes of k and k + 2, which
 * rows->pairs_of turns into two weights of 16 bits at once; nothing is decoded beforehand. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_rows_codes(const int16_t* x TERSOR_REGISTER,
                                              const int8_t* w TERSOR_REGISTER,
                                              const int16_t* end TERSOR_REGISTER,
                                              tersor_rows* rows TERSOR_REGISTER) {
  __asm__ volatile(
      "push {r0, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "ldr r2, [r3, #20]\n\t"
      "1:\n\t"
      "ldr r3, [sp, #8]\n\t"
      "ldr r12, [r3]\n\t"
      "ldrd r4, r6, [r12], #8\n\t"
      "str r12, [r3]\n\t"
      "ldr r12, [sp, #4]\n\t"
      "sub r12, r12, r0\n\t"
      "mov r5, r4\n\t"
      "mov r7, r6\n\t"
      "tst r12, #16\n\t"
      "bne 3f\n\t"
      "2:\n\t" TERSOR_STEP_CODES "3:\n\t" TERSOR_STEP_CODES
      "ldr r12, [sp, #4]\n\t"
      "cmp r0, r12\n\t"
      "bne 2b\n\t"
      "ldr r3, [sp, #8]\n\t"
      "ldmia r3, {r8, r9, r10, r11, r12}\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r5", "r0", "lr") TERSOR_CODE("r4", "r0", "lr")
      "strb r5, [r10], #1\n\t"
      "strb r4, [r9], #1\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r7", "r0", "lr") TERSOR_CODE("r6", "r0", "lr")
      "strb r7, [r10], #1\n\t"
      "strb r6, [r9], #1\n\t"
      "ldr r0, [sp]\n\t"
      "subs r11, #1\n\t"
      "stmia r3, {r8, r9, r10, r11}\n\t"
      "bne 1b\n\t"
      "add sp, #12\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}
#else
static void tersor_rows_codes(const int16_t* x, const int8_t* w, const int16_t* end,
                              tersor_rows* rows) {
  const uint8_t* at = (const uint8_t*)w;
  int32_t j;
  for (; rows->pairs > 0; --rows->pairs, rows->channels += 6) {
    const int32_t* channel = rows->channels;
    const int16_t* from;
    int32_t sums[4];
    sums[0] = sums[1] = channel[0];
    sums[2] = sums[3] = channel[1];
    for (from = x; from != end; from += 8, at += 4) {
      for (j = 0; j < 4; ++j) {
        const uint32_t both = rows->pairs_of[at[j]];
        const int32_t even = (int16_t)(uint16_t)both, odd = (int16_t)(uint16_t)(both >> 16);
        const int16_t* values = from + 2 * (j & 1);
        sums[j & 2] += values[0] * even + values[1] * odd;
        sums[(j & 2) + 1] += values[4] * even + values[5] * odd;
      }
    }
    for (j = 0; j < 2; ++j) {
      const int32_t mantissa = channel[2 + 2 * j], right = channel[3 + 2 * j] + 1;
      const int32_t zero = rows->offset >> 1;
      const int32_t second = tersor_scale_down(sums[2 * j + 1], mantissa, right) + zero;
      const int32_t first = tersor_scale_down(sums[2 * j], mantissa, right) + zero;
      *rows->second++ = (int8_t)tersor_clamp(second, -128, 127);
      *rows->first++ = (int8_t)tersor_clamp(first, -128, 127);
    }
  }
}
#endif

/* As tersor_rows_2x2, one output channel at a time, from the blocks of four weights that are not
 * all 0. channels: for each its bias, mantissa, -shift - 1 and number of blocks; rows->pairs counts
 * channels; at: where the inputs of each block lie in the windows, in bytes. 12 instructions for
 * eight products of a block. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_rows_sparse(const int16_t* x TERSOR_REGISTER,
                                               const int8_t* w TERSOR_REGISTER,
                                               const uint16_t* at TERSOR_REGISTER,
                                               tersor_rows* rows TERSOR_REGISTER) {
  __asm__ volatile(
      "push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "1:\n\t"
      "ldr r3, [sp]\n\t"
      "ldr r12, [r3]\n\t"
      "ldr r4, [r12]\n\t"
      "ldr r6, [r12, #12]\n\t"
      "mov r5, r4\n\t"
      "cbz r6, 3f\n\t"
      "2:\n\t"
      "ldrh r12, [r2], #2\n\t"
      "ldr r7, [r1], #4\n\t"
      "add r12, r12, r0\n\t"
      "ldmia r12, {r8, r9, r10, r11}\n\t"
      "sxtb16 lr, r7\n\t"
      "sxtb16 r7, r7, ror #8\n\t"
      "smlad r4, r8, lr, r4\n\t"
      "smlad r5, r10, lr, r5\n\t"
      "smlad r4, r9, r7, r4\n\t"
      "smlad r5, r11, r7, r5\n\t"
      "subs r6, #1\n\t"
      "bne 2b\n\t"
      "3:\n\t"
      "ldmia r3, {r8, r9, r10, r11, r12}\n\t"
      "ldrd r6, lr, [r8, #4]\n\t"
      "add r8, #16\n\t"
      TERSOR_CODE("r5", "r6", "lr") TERSOR_CODE("r4", "r6", "lr")
      "strb r5, [r10], #1\n\t"
      "strb r4, [r9], #1\n\t"
      "subs r11, #1\n\t"
      "stmia r3, {r8, r9, r10, r11}\n\t"
      "bne 1b\n\t"
      "add sp, #4\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}
#else
static void tersor_rows_sparse(const int16_t* x, const int8_t* w, const uint16_t* at,
                               tersor_rows* rows) {
  for (; rows->pairs > 0; --rows->pairs, rows->channels += 4) {
    const int32_t* channel = rows->channels;
    const int32_t mantissa = channel[1], right = channel[2] + 1, zero = rows->offset >> 1;
    int32_t first = channel[0], second = channel[0], n;
    for (n = channel[3]; n > 0; --n, w += 4) {
      const int16_t* from = x + *at++ / 2;
      first += from[0] * w[0] + from[2] * w[1] + from[1] * w[2] + from[3] * w[3];
      second += from[4] * w[0] + from[6] * w[1] + from[5] * w[2] + from[7] * w[3];
    }
    second = tersor_scale_down(second, mantissa, right) + zero;
    first = tersor_scale_down(first, mantissa, right) + zero;
    *rows->second++ = (int8_t)tersor_clamp(second, -128, 127);
    *rows->first++ = (int8_t)tersor_clamp(first, -128, 127);
  }
}
#endif

/* y[i] = codes[i] + residual[i], for a shift of the sum below 0. */
static void tersor_add_row(const tersor_sum* s, const int8_t* codes, const int8_t* residual,
                           int8_t* y, int32_t n) {
  const tersor_sum own = *s;
  int32_t i;
  for (i = 0; i < n; ++i) y[i] = (int8_t)tersor_add_fast(&own, codes[i], residual[i]);
}

/* Weights: [output / 2][k / 4][output % 2][k % 4] codes, k runs over [window position][channel] and
 * is a multiple of 4. bias: the table of tersor_rows. column: 2 * depth 16-bit values, and behind
 * them `depth` bytes where the channels are no multiple of 4, or the codes of two positions where
 * there is a residual. Two positions at a time: both are read before one is written. */
static void tersor_conv_dsp(const tersor_window* p, const int8_t* x, int8_t* y, int16_t* column,
                            const tersor_sum* sum, const int8_t* residual, int32_t backwards) {
  const int32_t count = p->out_height * p->out_width, outputs = p->out_channels;
  int8_t* const codes = (int8_t*)(column + 2 * p->depth);
  tersor_walk at = tersor_start(p, backwards);
  int32_t n;
  for (n = 0; n < count; n += 2) {
    const int32_t pair = n + 1 < count;
    const int32_t first = (at.y * p->out_width + at.x) * outputs;
    const int32_t second = !pair ? first : backwards ? first - outputs : first + outputs;
    tersor_rows rows;
    tersor_gather_next(p, x, 1 + pair, &at, column);
    rows.channels = p->bias;
    rows.first = residual ? codes : y + first;
    rows.second = residual ? codes + pair * outputs : y + second;
    rows.pairs = outputs >> 1;
    rows.offset = 1 + 2 * p->zero_out;
    tersor_rows_2x2(column, p->weights, column + 2 * p->depth, &rows);
    if (residual) {
      tersor_add_row(sum, codes, residual + first, y + first, outputs);
      if (pair) tersor_add_row(sum, codes + outputs, residual + second, y + second, outputs);
    }
  }
}

/* The same with blocks of four weights of one output that are all 0 left out: weights and `blocks`
 * as tersor_rows_sparse reads them. */
static void tersor_conv_sparse_dsp(const tersor_window* p, const uint16_t* blocks, const int8_t* x,
                                   int8_t* y, int16_t* column, const tersor_sum* sum,
                                   const int8_t* residual, int32_t backwards) {
  const int32_t count = p->out_height * p->out_width, outputs = p->out_channels;
  int8_t* const codes = (int8_t*)(column + 2 * p->depth);
  tersor_walk at = tersor_start(p, backwards);
  int32_t n;
  for (n = 0; n < count; n += 2) {
    const int32_t pair = n + 1 < count;
    const int32_t first = (at.y * p->out_width + at.x) * outputs;
    const int32_t second = !pair ? first : backwards ? first - outputs : first + outputs;
    tersor_rows rows;
    tersor_gather_next(p, x, 1 + pair, &at, column);
    rows.channels = p->bias;
    rows.first = residual ? codes : y + first;
    rows.second = residual ? codes + pair * outputs : y + second;
    rows.pairs = outputs;
    rows.offset = 1 + 2 * p->zero_out;
    tersor_rows_sparse(column, p->weights, blocks, &rows);
    if (residual) {
      tersor_add_row(sum, codes, residual + first, y + first, outputs);
      if (pair) tersor_add_row(sum, codes + outputs, residual + second, y + second, outputs);
    }
  }
}

/* Bytes behind the windows of tersor_conv_dsp, in whole words. */
static int32_t tersor_behind(const tersor_window* p, int32_t adds) {
  const int32_t bytes = p->in_channels % 4 ? p->depth : 0, codes = adds ? 2 * p->out_channels : 0;
  return ((bytes > codes ? bytes : codes) + 3) & ~3;
}

/* The same with weights as 4-bit codes of 16 values: bytes (code of k) + 16 * (code of k + 2), in
 * the order [output / 2][k / 4][output % 2][k % 2]. 1 KiB behind the rest of the scratch memory is
 * for all pairs of values. */
static void tersor_conv_codes_dsp(const tersor_window* p, const int8_t* codebook, const int8_t* x,
                                  int8_t* y, int16_t* column, const tersor_sum* sum,
                                  const int8_t* residual, int32_t backwards) {
  const int32_t count = p->out_height * p->out_width, outputs = p->out_channels;
  int8_t* const codes = (int8_t*)(column + 2 * p->depth);
  uint32_t* const pairs_of = (uint32_t*)(codes + tersor_behind(p, residual != 0));
  tersor_walk at = tersor_start(p, backwards);
  int32_t n;
  for (n = 0; n < 256; ++n) {
    const uint32_t even = (uint16_t)codebook[n & 15], odd = (uint16_t)codebook[n >> 4];
    pairs_of[n] = even | odd << 16;
  }
  for (n = 0; n < count; n += 2) {
    const int32_t pair = n + 1 < count;
    const int32_t first = (at.y * p->out_width + at.x) * outputs;
    const int32_t second = !pair ? first : backwards ? first - outputs : first + outputs;
    tersor_rows rows;
    tersor_gather_next(p, x, 1 + pair, &at, column);
    rows.channels = p->bias;
    rows.first = residual ? codes : y + first;
    rows.second = residual ? codes + pair * outputs : y + second;
    rows.pairs = outputs >> 1;
    rows.offset = 1 + 2 * p->zero_out;
    rows.pairs_of = pairs_of;
    tersor_rows_codes(column, p->weights, column + 2 * p->depth, &rows);
    if (residual) {
      tersor_add_row(sum, codes, residual + first, y + first, outputs);
      if (pair) tersor_add_row(sum, codes + outputs, residual + second, y + second, outputs);
    }
  }
}

/* The same for an odd number of outputs, clamped ones, and multipliers or sums of any size. */
static void tersor_conv_dsp_any(const tersor_window* p, const int8_t* x, int8_t* y, int16_t* column,
                                const tersor_sum* sum, const int8_t* residual, int32_t backwards) {
  const int32_t count = p->out_height * p->out_width, outputs = p->out_channels;
  tersor_walk at = tersor_start(p, backwards);
  int32_t n, o, j;
  for (n = 0; n < count; n += 2) {
    const int32_t pair = n + 1 < count;
    const int32_t first = (at.y * p->out_width + at.x) * outputs;
    const int32_t second = backwards ? first - outputs : first + outputs;
    const int8_t* w = p->weights;
    tersor_gather_next(p, x, 1 + pair, &at, column);
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
        if (!pair) continue;
        code = tersor_code(sums[j + 1], mantissa, shift, p->zero_out, p->low, p->high);
        if (residual) code = tersor_add(sum, code, residual[second + o]);
        y[second + o] = (int8_t)code;
      }
    }
  }
}

/* One step of four products of four outputs: inputs at r0, weights at r1, sums in r4 to r7. */
#define TERSOR_ROW_1X4(word, sum) \
  "sxtb16 lr, " word              \
  "\n\t"                          \
  "sxtb16 " word ", " word        \
  ", ror #8\n\t"                  \
  "smlad " sum ", r9, lr, " sum   \
  "\n\t"                          \
  "smlad " sum ", r8, " word ", " sum "\n\t"
#define TERSOR_STEP_1X4                                                              \
  "ldr r8, [r0], #4\n\t"                                                             \
  "ldmia r1!, {r3, r10, r11, r12}\n\t"                                               \
  "sxtb16 r9, r8\n\t"                                                                \
  "sxtb16 r8, r8, ror #8\n\t" TERSOR_ROW_1X4("r3", "r4") TERSOR_ROW_1X4("r10", "r5") \
      TERSOR_ROW_1X4("r11", "r6") TERSOR_ROW_1X4("r12", "r7")

/* sums[output] += four rows of weights times codes from x up to `end`. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_dot_1x4(const int8_t* x TERSOR_REGISTER,
                                           const int8_t* w TERSOR_REGISTER,
                                           const int8_t* end TERSOR_REGISTER,
                                           int32_t* sums TERSOR_REGISTER) {
  __asm__ volatile(
      "push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "ldmia r3, {r4, r5, r6, r7}\n\t"
      "1:\n\t" TERSOR_STEP_1X4
      "cmp r0, r2\n\t"
      "blo 1b\n\t"
      "ldr r3, [sp], #4\n\t"
      "stmia r3, {r4, r5, r6, r7}\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
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

/* As tersor_rows_2x2 for one position, four outputs at a time: rows->pairs counts fours, channels
 * holds four biases, then mantissa and -shift - 1 of each; rows->second is not used. */
#if defined(__ARM_FEATURE_DSP)
TERSOR_ASSEMBLY static void tersor_rows_1x4(const int8_t* x TERSOR_REGISTER,
                                            const int8_t* w TERSOR_REGISTER,
                                            const int8_t* end TERSOR_REGISTER,
                                            tersor_rows* rows TERSOR_REGISTER) {
  __asm__ volatile(
      "push {r0, r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "1:\n\t"
      "ldr r3, [sp, #4]\n\t"
      "ldr r12, [r3]\n\t"
      "ldmia r12!, {r4, r5, r6, r7}\n\t"
      "str r12, [r3]\n\t"
      "sub r12, r2, r0\n\t"
      "tst r12, #4\n\t"
      "bne 3f\n\t"
      "2:\n\t" TERSOR_STEP_1X4 "3:\n\t" TERSOR_STEP_1X4
      "cmp r0, r2\n\t"
      "bne 2b\n\t"
      "ldr r3, [sp, #4]\n\t"
      "ldmia r3, {r8, r9, r10, r11, r12}\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r4", "r0", "lr")
      "strb r4, [r9], #1\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r5", "r0", "lr")
      "strb r5, [r9], #1\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r6", "r0", "lr")
      "strb r6, [r9], #1\n\t"
      "ldrd r0, lr, [r8], #8\n\t"
      TERSOR_CODE("r7", "r0", "lr")
      "strb r7, [r9], #1\n\t"
      "ldr r0, [sp]\n\t"
      "subs r11, #1\n\t"
      "stmia r3, {r8, r9, r10, r11}\n\t"
      "bne 1b\n\t"
      "add sp, #8\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}
#else
static void tersor_rows_1x4(const int8_t* x, const int8_t* w, const int8_t* end,
                            tersor_rows* rows) {
  int32_t j;
  for (; rows->pairs > 0; --rows->pairs, w += 4 * (end - x), rows->channels += 12) {
    const int32_t* channel = rows->channels;
    int32_t sums[4];
    for (j = 0; j < 4; ++j) sums[j] = channel[j];
    tersor_dot_1x4(x, w, end, sums);
    for (j = 0; j < 4; ++j) {
      const int32_t scaled = tersor_scale_down(sums[j], channel[4 + 2 * j], channel[5 + 2 * j] + 1);
      *rows->first++ = (int8_t)tersor_clamp(scaled + (rows->offset >> 1), -128, 127);
    }
  }
}
#endif

/* One position whose window is the whole input. Weights: [output / 4][k / 4][output % 4][k % 4],
 * zeros beyond the last k: up to three bytes behind the input are read and multiplied by them.
 * bias: the table of tersor_rows_1x4. */
static void tersor_dense_dsp(const tersor_window* p, const int8_t* x, int8_t* y) {
  tersor_rows rows;
  rows.channels = p->bias;
  rows.first = rows.second = y;
  rows.pairs = p->out_channels >> 2;
  rows.offset = 1 + 2 * p->zero_out;
  tersor_rows_1x4(x, p->weights, x + p->depth, &rows);
}

/* The same for any number of outputs, clamped ones, and multipliers or sums of any size. */
static void tersor_dense_dsp_any(const tersor_window* p, const int8_t* x, int8_t* y) {
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

/* Codes of one position, four channels at a time. channels: for each four their biases, mantissas
 * and -shift - 1; offsets: from x to each value of the window; offset: 1 + 2 * zero point. */
typedef struct {
  const int32_t* channels;
  const int8_t* weights;
  const int32_t *offsets, *end;
  const int8_t* x;
  int8_t* y;
  int32_t blocks, offset;
} tersor_block;

/* As tersor_rows_2x2. The number of offsets is a multiple of 3. */
#if defined(__ARM_FEATURE_DSP)
#define TERSOR_TAP_4            \
  "ldr r10, [r3], #4\n\t"       \
  "ldr r10, [r9, r10]\n\t"      \
  "ldr r11, [r2], #4\n\t"       \
  "sxtb16 r12, r10\n\t"         \
  "sxtb16 r10, r10, ror #8\n\t" \
  "sxtb16 lr, r11\n\t"          \
  "sxtb16 r11, r11, ror #8\n\t" \
  "smlabb r4, r12, lr, r4\n\t"  \
  "smlatt r6, r12, lr, r6\n\t"  \
  "smlabb r5, r10, r11, r5\n\t" \
  "smlatt r7, r10, r11, r7\n\t"
TERSOR_ASSEMBLY static void tersor_channels_4(tersor_block* block TERSOR_REGISTER) {
  __asm__ volatile(
      "push {r0, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "1:\n\t"
      "ldmia r0, {r1, r2, r3, r8, r9}\n\t"
      "ldmia r1!, {r4, r5, r6, r7}\n\t"
      "str r1, [r0]\n\t"
      "2:\n\t" TERSOR_TAP_4 TERSOR_TAP_4 TERSOR_TAP_4
      "cmp r3, r8\n\t"
      "bne 2b\n\t"
      "ldr r0, [sp]\n\t"
      "ldr r1, [r0]\n\t"
      "ldr r3, [r0, #20]\n\t"
      "ldr r12, [r0, #28]\n\t"
      "add r9, #4\n\t"
      "strd r2, r9, [sp, #-8]!\n\t"
      "ldmia r1!, {r2, r8, r9, r10}\n\t"
      "ldr r11, [r1], #4\n\t"
      TERSOR_CODE("r4", "r2", "r11")
      "ldr r11, [r1], #4\n\t"
      TERSOR_CODE("r5", "r8", "r11")
      "ldr r11, [r1], #4\n\t"
      TERSOR_CODE("r6", "r9", "r11")
      "ldr r11, [r1], #4\n\t"
      TERSOR_CODE("r7", "r10", "r11")
      "strb r4, [r3], #1\n\t"
      "strb r5, [r3], #1\n\t"
      "strb r6, [r3], #1\n\t"
      "strb r7, [r3], #1\n\t"
      "ldrd r2, r9, [sp], #8\n\t"
      "strd r1, r2, [r0]\n\t"
      "strd r9, r3, [r0, #16]\n\t"
      "ldr r12, [r0, #24]\n\t"
      "subs r12, #1\n\t"
      "str r12, [r0, #24]\n\t"
      "bne 1b\n\t"
      "add sp, #4\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n\t");
}
#else
static void tersor_channels_4(tersor_block* block) {
  int32_t j;
  for (; block->blocks > 0; --block->blocks, block->channels += 12, block->x += 4) {
    const int32_t *channel = block->channels, *at;
    int32_t sums[4];
    for (j = 0; j < 4; ++j) sums[j] = channel[j];
    for (at = block->offsets; at != block->end; ++at, block->weights += 4) {
      for (j = 0; j < 4; ++j) sums[j] += block->x[*at + j] * block->weights[j];
    }
    for (j = 0; j < 4; ++j) {
      const int32_t scaled = tersor_scale_down(sums[j], channel[4 + j], channel[8 + j] + 1);
      *block->y++ = (int8_t)tersor_clamp(scaled + (block->offset >> 1), -128, 127);
    }
  }
}
#endif

/* A multiple of 4 channels, each with one output. Weights: [channel / 4][position][channel % 4],
 * zeros up to a multiple of 3 positions; bias: the table of tersor_block. offsets: one per
 * position, and behind them a row of zero points, which stands for what lies outside of the input.
 */
static void tersor_depthwise_dsp(const tersor_window* p, const int8_t* x, int8_t* y,
                                 int32_t* offsets, int32_t backwards) {
  const int32_t channels = p->in_channels;
  int32_t* const end = offsets + p->depth;
  const int32_t outside = (int32_t)((int8_t*)end - x);
  int32_t r, q, ky, kx;
  memset(end, p->zero_in, (size_t)channels);
  end[-1] = end[-2] = outside;
  for (r = 0; r < p->out_height; ++r) {
    const int32_t oy = backwards ? p->out_height - 1 - r : r;
    const int32_t top = oy * p->stride_y - p->pad_top;
    for (q = 0; q < p->out_width; ++q) {
      const int32_t ox = backwards ? p->out_width - 1 - q : q;
      const int32_t left = ox * p->stride_x - p->pad_left;
      int32_t* at = offsets;
      tersor_block block;
      for (ky = 0; ky < p->kernel_height; ++ky) {
        const int32_t iy = top + ky * p->dilation_y;
        const int32_t inside = iy >= 0 && iy < p->in_height;
        int32_t ix = left;
        int32_t from = (iy * p->in_width + ix) * channels;
        for (kx = 0; kx < p->kernel_width; ++kx) {
          *at++ = inside && ix >= 0 && ix < p->in_width ? from : outside;
          ix += p->dilation_x;
          from += p->dilation_x * channels;
        }
      }
      block.channels = p->bias;
      block.weights = p->weights;
      block.offsets = offsets;
      block.end = end;
      block.x = x;
      block.y = y + (oy * p->out_width + ox) * channels;
      block.blocks = channels >> 2;
      block.offset = 1 + 2 * p->zero_out;
      tersor_channels_4(&block);
    }
  }
}
