/* Row by row: tensors of generated C of which only some rows are held. How it is used: conv_c99.h.
 *
 * A tensor that is written row by row has room for `capacity` rows. When the next one finds none,
 * the first row leaves and the others move up, so that every kernel sees rows one behind the other;
 * the generator has checked that no reader needs that row any more. */

/* The rows [first, next) of a tensor are held. */
typedef struct {
  int16_t first, next;
} tersor_ring;

/* Where the next row goes. */
static int8_t* tersor_push(tersor_ring* ring, int8_t* rows, int32_t bytes, int32_t capacity) {
  int32_t held = ring->next - ring->first;
  if (held == capacity) {
    int8_t* to = rows;
    for (--held; to != rows + held * bytes; to += bytes) memcpy(to, to + bytes, (size_t)bytes);
    ++ring->first;
  }
  ++ring->next;
  return rows + held * bytes;
}

/* The window of output row r alone, on an input whose row `first` lies first. */
static tersor_window tersor_window_row(const tersor_window* p, int32_t r, int32_t first) {
  tersor_window row = *p;
  row.in_height = (int16_t)(p->in_height - first);
  row.out_height = 1;
  row.pad_top = (int16_t)(p->pad_top + first - r * p->stride_y);
  return row;
}

/* The same of a pool. */
static tersor_pool tersor_pool_row(const tersor_pool* p, int32_t r, int32_t first) {
  tersor_pool row = *p;
  row.in_height = (int16_t)(p->in_height - first);
  row.out_height = 1;
  row.pad_top = (int16_t)(p->pad_top + first - r * p->stride_y);
  return row;
}

/* Row r of `rows` rows whose mean is taken: sums[inner] keeps what was added; the last gives y. */
static void tersor_mean_row(const tersor_mean* p, int32_t r, int32_t rows, const int8_t* x,
                            int8_t* y, int32_t* sums) {
  const int32_t count = p->count / rows;
  int32_t k, i;
  for (i = 0; i < p->inner; ++i) {
    int32_t sum = r > 0 ? sums[i] : -p->offset;
    for (k = 0; k < count; ++k) sum += x[k * p->inner + i];
    sums[i] = sum;
    if (r + 1 < rows) continue;
    y[i] = (int8_t)tersor_requantize(sum, p->mantissa, p->shift, p->zero_out, -128, 127);
  }
}

/* An average pool with one output position, whose window is the whole input: `count` values, those
 * in the padding add `padding`. */
typedef struct {
  int32_t rows, width, channels, count, padding;
} tersor_plane;

static void tersor_average_row(const tersor_plane* p, int32_t r, const int8_t* x, int8_t* y,
                               int32_t* sums) {
  int32_t k, i;
  for (i = 0; i < p->channels; ++i) {
    int32_t sum = r > 0 ? sums[i] : p->padding;
    for (k = 0; k < p->width; ++k) sum += x[k * p->channels + i];
    sums[i] = sum;
    if (r + 1 == p->rows) y[i] = (int8_t)tersor_average(sum, p->count);
  }
}
