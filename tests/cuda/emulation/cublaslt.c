// Stands in for libcublasLt.so: the functions that tersor/cuda/cublaslt.h calls, computing on the
// host and remembering what they were asked. Column-major like the real one.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kFloat32 = 0, kInt8 = 3, kInt32 = 10, kBFloat16 = 14, kFloat8 = 28 };
enum { kSuccess = 0, kInvalid = 7, kNotSupported = 15 };

typedef struct {
  int compute, scale, transpose_a, transpose_b;
  const float *a_scale, *b_scale;
} Description;
typedef struct {
  int type;
  uint64_t rows, columns;
  int64_t leading;
} Layout;
typedef struct {
  uint64_t workspace;
  uint32_t alignment[4];
} Preference;
typedef struct {
  uint64_t algorithm[8];
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
} Heuristic;

// Read by the tests.
int fake_heuristics, fake_products, fake_algorithm, fake_candidates = 3, fake_alive;
uint32_t fake_alignment;
uint64_t fake_workspace;

size_t cublasLtGetVersion(void) { return 130099; }
int cublasLtCreate(void** handle) {
  *handle = malloc(1);
  return kSuccess;
}
int cublasLtMatmulDescCreate(void** out, int compute, int scale) {
  Description* d = calloc(1, sizeof *d);
  d->compute = compute;
  d->scale = scale;
  ++fake_alive;
  *out = d;
  return kSuccess;
}
int cublasLtMatmulDescSetAttribute(void* description, int attribute, const void* value,
                                   size_t bytes) {
  Description* d = description;
  if (attribute == 3 && bytes == 4)
    memcpy(&d->transpose_a, value, 4);
  else if (attribute == 4 && bytes == 4)
    memcpy(&d->transpose_b, value, 4);
  else if (attribute == 17 && bytes == 8)
    memcpy(&d->a_scale, value, 8);
  else if (attribute == 18 && bytes == 8)
    memcpy(&d->b_scale, value, 8);
  else
    return kInvalid;
  return kSuccess;
}
int cublasLtMatmulDescDestroy(void* d) {
  --fake_alive;
  free(d);
  return kSuccess;
}
int cublasLtMatrixLayoutCreate(void** out, int type, uint64_t rows, uint64_t columns,
                               int64_t leading) {
  Layout* l = malloc(sizeof *l);
  *l = (Layout){type, rows, columns, leading};
  ++fake_alive;
  *out = l;
  return kSuccess;
}
int cublasLtMatrixLayoutDestroy(void* l) {
  --fake_alive;
  free(l);
  return kSuccess;
}
int cublasLtMatmulPreferenceCreate(void** out) {
  *out = calloc(1, sizeof(Preference));
  ++fake_alive;
  return kSuccess;
}
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value,
                                         size_t bytes) {
  Preference* p = preference;
  if (attribute == 1 && bytes == 8)
    memcpy(&p->workspace, value, 8);
  else if (attribute >= 5 && attribute <= 8 && bytes == 4) {
    memcpy(&p->alignment[attribute - 5], value, 4);
  } else
    return kInvalid;
  return kSuccess;
}
int cublasLtMatmulPreferenceDestroy(void* p) {
  --fake_alive;
  free(p);
  return kSuccess;
}

// What the documentation of cublasLtMatmul demands of these types.
static int fits(const Description* d, const Layout* a, const Layout* b, const Layout* y) {
  const int int8 = a->type == kInt8 && b->type == kInt8 && y->type == kInt32 && d->compute == 72 &&
                   d->scale == kInt32;
  const int float8 = a->type == kFloat8 && b->type == kFloat8 && d->compute == 68 &&
                     d->scale == kFloat32 && (y->type == kFloat32 || y->type == kBFloat16);
  return (int8 || float8) && d->transpose_a == 1 && d->transpose_b == 0 && a->rows == b->rows &&
         a->columns == y->rows && b->columns == y->columns && a->rows % 16 == 0 &&
         a->columns % 16 == 0 && a->leading % 16 == 0 && y->leading % 4 == 0;
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, void* description, void* a, void* b, void* c,
                                   void* y, void* preference, int wanted, Heuristic* results,
                                   int* found) {
  const Preference* p = preference;
  (void)handle;
  (void)c;
  ++fake_heuristics;
  fake_workspace = p->workspace;
  fake_alignment = p->alignment[0];
  *found = 0;
  if (!fits(description, a, b, y)) return kNotSupported;
  for (int i = 0; i < fake_candidates && i < wanted; ++i) {
    memset(&results[i], 0, sizeof results[i]);
    results[i].algorithm[0] = (uint64_t)i + 100;
    results[i].status = i == 1 ? kNotSupported : kSuccess;
    ++*found;
  }
  return *found ? kSuccess : kNotSupported;
}

static float e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float sign = code & 128 ? -1.0f : 1.0f;
  if ((code & 127) == 127) return NAN;
  return sign *
         (exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9));
}

int cublasLtMatmul(void* handle, void* description, const void* alpha, const void* a,
                   void* a_layout, const void* b, void* b_layout, const void* beta, const void* c,
                   void* c_layout, void* y, void* y_layout, const uint64_t* algorithm,
                   void* workspace, size_t workspace_bytes, void* stream) {
  const Description* d = description;
  const Layout *al = a_layout, *bl = b_layout, *yl = y_layout;
  (void)handle;
  (void)c_layout;
  (void)stream;
  if (!fits(d, al, bl, yl) || c != y || !workspace || workspace_bytes != fake_workspace) {
    return kInvalid;
  }
  memset(workspace, 0xab, workspace_bytes < 4096 ? workspace_bytes : 4096);
  ++fake_products;
  fake_algorithm = (int)algorithm[0];
  // The last candidate is the fastest.
  if (fake_algorithm != 99 + fake_candidates) {
    const struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
  }
  for (uint64_t n = 0; n < yl->columns; ++n) {
    for (uint64_t m = 0; m < yl->rows; ++m) {
      const uint64_t at = n * (uint64_t)yl->leading + m;
      if (al->type == kInt8) {
        int32_t sum = 0;
        const int8_t* x = (const int8_t*)a + m * (uint64_t)al->leading;
        const int8_t* z = (const int8_t*)b + n * (uint64_t)bl->leading;
        for (uint64_t k = 0; k < al->rows; ++k) sum += x[k] * z[k];
        if (*(const int32_t*)alpha != 1 || *(const int32_t*)beta != 0) return kInvalid;
        ((int32_t*)y)[at] = sum;
      } else {
        double sum = 0;
        const uint8_t* x = (const uint8_t*)a + m * (uint64_t)al->leading;
        const uint8_t* z = (const uint8_t*)b + n * (uint64_t)bl->leading;
        for (uint64_t k = 0; k < al->rows; ++k) sum += (double)e4m3(x[k]) * (double)e4m3(z[k]);
        if (*(const float*)alpha != 1 || *(const float*)beta != 0) return kInvalid;
        if (d->a_scale) sum *= *d->a_scale;
        if (d->b_scale) sum *= *d->b_scale;
        const float value = (float)sum;
        if (yl->type == kFloat32) {
          ((float*)y)[at] = value;
        } else {
          uint32_t u;
          memcpy(&u, &value, 4);
          ((uint16_t*)y)[at] = (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
        }
      }
    }
  }
  return kSuccess;
}
