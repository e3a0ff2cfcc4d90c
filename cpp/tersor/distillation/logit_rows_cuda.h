// What the losses on logits share on a CUDA device: one pass over a row of student and teacher
// logits that keeps running maxima (online softmax), with the label left out, and its merge over
// the threads of a row. Private to the room.
//
// A row belongs to a warp where rows are short, else to a block, else to a cluster of blocks; what
// fits is kept in shared memory, so that logits are read from device memory once. Exponentials are
// 2^x of scaled differences to the running maximum: scale = log2(e) / temperature.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/distillation/cuda.h"

namespace tersor::distillation {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr unsigned kRowThreads = 512;   // of a block that works on one row
constexpr unsigned kWarpThreads = 256;  // of a block whose warps work on one row each
// Rows up to here are a warp's: 32 lanes with a few vectors of eight each.
constexpr std::size_t kWarpClasses = 1024;
constexpr unsigned kMostCluster = 8;  // the portable limit
// Shared memory for logits of a block; three blocks of 64 KiB run on a multiprocessor of 227 KiB.
constexpr std::size_t kCacheBytes = 72 << 10;

__device__ inline float exp2_of(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));  // 2 units in the last place
  return y;
#else
  return exp2f(x);
#endif
}

// Sums over classes, relative to the maxima; a maximum of -inf counts as 0.
struct RowState {
  float student_max = -INFINITY, teacher_max = -INFINITY;
  float student = 0;     // sum u, u = 2^(student_scale * (z - student_max))
  float teacher = 0;     // sum v
  float hard = 0;        // sum e, e = 2^(log2(e) * (z - student_max))
  float difference = 0;  // sum v * (log2 v - log2 u), both relative to the maxima
  float spread = 0;      // sum w * z over the classes, not relative to anything
  float student_moment = 0, teacher_moment = 0;  // sum u * z', v * z', z' = z - student_max

  static constexpr int kFields = 9;
};

__device__ inline float reference(float max) { return max == -INFINITY ? 0.0f : max; }

// How logits become exponentials.
struct RowScales {
  float student = 0, teacher = 0;
  // e = u^power where power > 0; 0: an exponential of its own; -1: not wanted.
  float power = -1;
};

__device__ inline float hard_of(const RowScales& s, float u, float z) {
  if (s.power == 1) return u;
  if (s.power == 2) return u * u;
  if (s.power == 4) return (u * u) * (u * u);
  return exp2_of(kLog2E * z);
}

// Raises the maxima, which changes what the sums are relative to.
__device__ inline void raise(RowState& a, float student_max, float teacher_max,
                             const RowScales& s) {
  if (student_max > a.student_max) {
    const float by = reference(student_max) - reference(a.student_max);
    const float factor = a.student_max == -INFINITY ? 0.0f : exp2_of(-s.student * by);
    a.student_moment = factor * fmaf(-by, a.student, a.student_moment);
    a.student *= factor;
    if (s.power >= 0) a.hard *= a.student_max == -INFINITY ? 0.0f : exp2_of(-kLog2E * by);
    a.difference = fmaf(s.student * by, a.teacher, a.difference);
    a.teacher_moment = fmaf(-by, a.teacher, a.teacher_moment);
    a.student_max = student_max;
  }
  if (teacher_max > a.teacher_max) {
    const float by = reference(teacher_max) - reference(a.teacher_max);
    const float factor = a.teacher_max == -INFINITY ? 0.0f : exp2_of(-s.teacher * by);
    a.difference = factor == 0.0f ? 0.0f : factor * fmaf(-s.teacher * by, a.teacher, a.difference);
    a.teacher_moment = factor == 0.0f ? 0.0f : factor * a.teacher_moment;
    a.teacher *= factor;
    a.teacher_max = teacher_max;
  }
}

__device__ inline RowState merged(RowState a, RowState b, const RowScales& s) {
  const float student_max = fmaxf(a.student_max, b.student_max);
  const float teacher_max = fmaxf(a.teacher_max, b.teacher_max);
  raise(a, student_max, teacher_max, s);
  raise(b, student_max, teacher_max, s);
  a.student += b.student;
  a.teacher += b.teacher;
  a.hard += b.hard;
  a.difference += b.difference;
  a.spread += b.spread;
  a.student_moment += b.student_moment;
  a.teacher_moment += b.teacher_moment;
  return a;
}

// One class into the sums; the maxima are at least z and t. `v` only where `with_teacher`.
__device__ inline void add_class(RowState& a, float z, float t, const RowScales& s, bool moments,
                                 bool with_student, bool with_teacher) {
  const float zr = z - reference(a.student_max);
  const float log_u = s.student * zr;
  if (with_student) {
    const float u = exp2_of(log_u);
    a.student += u;
    if (s.power >= 0) a.hard += hard_of(s, u, zr);
    if (moments && u > 0) a.student_moment = fmaf(u, zr, a.student_moment);
  }
  if (with_teacher) {
    const float log_v = s.teacher * (t - reference(a.teacher_max));
    const float v = exp2_of(log_v);
    a.teacher += v;
    // 0 * log 0 is 0; a NaN makes the sum NaN above.
    if (v > 0) a.difference = fmaf(v, log_v - log_u, a.difference);
    if (moments && v > 0) a.teacher_moment = fmaf(v, zr, a.teacher_moment);
  }
}

// The threads of one row.
template <bool kWarpRow>
struct RowTeam {
  unsigned rank, size;  // of this thread among those of its block that share the row
  unsigned cluster_rank, cluster_size;
  float* shared;   // [warps][RowState::kFields] of the block
  float* partial;  // [cluster_size][RowState::kFields] of the row, in device memory

  template <class Join>
  __device__ RowState reduce(RowState x, Join join) const {
#pragma unroll
    for (unsigned lanes = 16; lanes > 0; lanes /= 2) {
      RowState other;
      const float* from = &x.student_max;
      float* to = &other.student_max;
#pragma unroll
      for (int i = 0; i < RowState::kFields; ++i) to[i] = cuda::shuffle_xor(from[i], lanes);
      x = (rank & lanes) == 0 ? join(x, other) : join(other, x);
    }
    if constexpr (kWarpRow) {
      return x;
    } else {
      const unsigned warps = size / cuda::kWarp;
      __syncthreads();  // what was read of `shared` before
      if (rank % cuda::kWarp == 0) put(x, shared + rank / cuda::kWarp * RowState::kFields);
      __syncthreads();
      x = get(shared);
      for (unsigned w = 1; w < warps; ++w) x = join(x, get(shared + w * RowState::kFields));
      if (cluster_size == 1) return x;
      if (rank == 0) put(x, partial + cluster_rank * RowState::kFields);
      cuda::cluster_barrier();
      x = get_far(partial);
      for (unsigned c = 1; c < cluster_size; ++c) {
        x = join(x, get_far(partial + c * RowState::kFields));
      }
      cuda::cluster_barrier();  // `partial` may be written again
      return x;
    }
  }
  __device__ void barrier() const {
    if constexpr (kWarpRow) {
      __syncwarp();
    } else {
      if (cluster_size > 1) {
        cuda::cluster_barrier();
      } else {
        __syncthreads();
      }
    }
  }

 private:
  __device__ static void put(const RowState& x, float* to) {
    const float* from = &x.student_max;
#pragma unroll
    for (int i = 0; i < RowState::kFields; ++i) to[i] = from[i];
  }
  __device__ static RowState get(const float* from) {
    RowState x;
    float* to = &x.student_max;
#pragma unroll
    for (int i = 0; i < RowState::kFields; ++i) to[i] = from[i];
    return x;
  }
  // Written by another multiprocessor: not from the first-level cache.
  __device__ static RowState get_far(const float* from) {
    RowState x;
    float* to = &x.student_max;
#pragma unroll
    for (int i = 0; i < RowState::kFields; ++i) to[i] = __ldcg(from + i);
    return x;
  }
};

// A matrix of logits whose rows are read eight at a time. Vectors need rows that are aligned.
struct LogitRow {
  const void* data;
  bool bfloat16, vectors;
};
__device__ inline LogitRow row_of(const void* matrix, bool bfloat16, std::size_t columns,
                                  std::size_t row) {
  const auto* p = static_cast<const unsigned char*>(matrix) + row * columns * (bfloat16 ? 2 : 4);
  return {p, bfloat16, reinterpret_cast<std::uintptr_t>(p) % 16 == 0};
}
__device__ inline float logit_at(const LogitRow& r, std::size_t c) {
  return r.bfloat16 ? cuda::to_float(static_cast<const cuda::BFloat16*>(r.data)[c])
                    : static_cast<const float*>(r.data)[c];
}
// x[k] for k < count; -inf beyond.
__device__ inline void load_logits(const LogitRow& r, std::size_t first, unsigned count,
                                   float (&x)[8]) {
  if (r.vectors && count == 8) {
    if (r.bfloat16) {
      cuda::load8(static_cast<const cuda::BFloat16*>(r.data) + first, x);
    } else {
      cuda::load8(static_cast<const float*>(r.data) + first, x);
    }
    return;
  }
#pragma unroll
  for (unsigned k = 0; k < 8; ++k) x[k] = k < count ? logit_at(r, first + k) : -INFINITY;
}
__device__ inline void store_logits(void* row, bool bfloat16, bool vectors, std::size_t first,
                                    unsigned count, const float (&x)[8]) {
  if (bfloat16) {
    auto* p = static_cast<cuda::BFloat16*>(row) + first;
    if (vectors && count == 8) return cuda::store8(p, x);
    cuda::store_some(p, count, x);
  } else {
    auto* p = static_cast<float*>(row) + first;
    if (vectors && count == 8) return cuda::store8(p, x);
    cuda::store_some(p, count, x);
  }
}

}  // namespace tersor::distillation
