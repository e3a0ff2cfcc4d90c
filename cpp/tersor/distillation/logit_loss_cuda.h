// The kernel of the losses on logits: which rows, which labels, one pass for the sums, one for the
// gradient; what a loss makes of the sums is its policy. Private to the room.
#pragma once

#include "tersor/base/error.h"
#include "tersor/distillation/logit_rows_cuda.h"

namespace tersor::distillation {

// What a row's divisors are made of, found on the device before the rows.
struct LabelCounts {
  double rows, label_weights, class_weights;
};

struct RowsInput {
  const void* student;
  const void* teacher;
  bool student_bfloat16, teacher_bfloat16;
  std::size_t rows, classes, teacher_columns;
  const std::int64_t* indices;  // of the teacher's columns, or null
  const std::int64_t* labels;   // or null
  std::int64_t ignore_index;
  const float* class_weights;  // or null
  const LabelCounts* counts;
  void* gradient;            // or null
  float* losses;             // per row
  float* partial;            // [rows in flight][cluster][RowState::kFields]
  unsigned cluster, cached;  // blocks per row; vectors of a block in shared memory
};

// What the threads of a row know when its sums are complete.
struct RowSums {
  RowState others;  // without the label
  RowState all;     // with it
  RowScales scales;
  bool has_label;
  float label_student, label_teacher, label_weight;
  float student_divisor, teacher_divisor;  // scale = log2(e) / divisor
  float student_deviation, student_mean;   // where rows are standardised
  float origin;                            // of RowState::spread
};

// A block's part of a row: vectors of eight classes, and which of them this thread has.
struct Part {
  unsigned begin, end;  // vectors
  uint4* cache;         // or null: [student, then teacher][halves][cached]
  unsigned cached;
};

__device__ inline void keep_logits(uint4* cache, unsigned cached, unsigned j, bool bfloat16,
                                   const LogitRow& r, std::size_t first, float (&x)[8]) {
  if (bfloat16) {
    const uint4 raw =
        *reinterpret_cast<const uint4*>(static_cast<const cuda::BFloat16*>(r.data) + first);
    cache[j] = raw;
    cuda::widen8(raw, x);
  } else {
    const auto* p = reinterpret_cast<const uint4*>(static_cast<const float*>(r.data) + first);
    const uint4 low = p[0], high = p[1];
    cache[j] = low;
    cache[cached + j] = high;
    const unsigned bits[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int k = 0; k < 8; ++k) x[k] = __uint_as_float(bits[k]);
  }
}
__device__ inline void kept_logits(const uint4* cache, unsigned cached, unsigned j, bool bfloat16,
                                   float (&x)[8]) {
  const uint4 low = cache[j];
  if (bfloat16) return cuda::widen8(low, x);
  const uint4 high = cache[cached + j];
  const unsigned bits[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int k = 0; k < 8; ++k) x[k] = __uint_as_float(bits[k]);
}

// Calls f(first, count, z, t) for the vectors of this thread. t holds -inf with top classes only.
// A thread finds in shared memory what it put there itself, so that no barrier is needed.
template <bool kFill, bool kWarpRow, class F>
__device__ void for_part(const RowsInput& in, const RowTeam<kWarpRow>& team, const Part& part,
                         const LogitRow& student, const LogitRow& teacher, F&& f) {
  const bool dense = in.indices == nullptr;
  uint4* const teacher_cache = part.cache + part.cached * (in.student_bfloat16 ? 1u : 2u);
  for (unsigned v = part.begin + team.rank; v < part.end; v += team.size) {
    const unsigned j = v - part.begin;
    const std::size_t first = std::size_t{8} * v;
    const auto count =
        static_cast<unsigned>(in.classes - first < 8 ? in.classes - first : std::size_t{8});
    float z[8], t[8];
    const bool whole = count == 8 && j < part.cached && student.vectors && teacher.vectors && dense;
    if (whole) {
      if constexpr (kFill) {
        keep_logits(part.cache, part.cached, j, in.student_bfloat16, student, first, z);
        keep_logits(teacher_cache, part.cached, j, in.teacher_bfloat16, teacher, first, t);
      } else {
        kept_logits(part.cache, part.cached, j, in.student_bfloat16, z);
        kept_logits(teacher_cache, part.cached, j, in.teacher_bfloat16, t);
      }
    } else {
      load_logits(student, first, count, z);
      if (dense) {
        load_logits(teacher, first, count, t);
      } else {
#pragma unroll
        for (int k = 0; k < 8; ++k) t[k] = -INFINITY;
      }
    }
    f(first, count, z, t);
  }
}

struct AddFields {
  __device__ RowState operator()(RowState a, const RowState& b) const {
    float* x = &a.student_max;
    const float* y = &b.student_max;
#pragma unroll
    for (int i = 0; i < RowState::kFields; ++i) x[i] += y[i];
    return a;
  }
};
__device__ inline RowState no_fields() {
  RowState x;
  x.student_max = x.teacher_max = 0;
  return x;
}

struct RowOptions {
  float temperature;
  bool exclude_label;  // the policy wants the sums without it
  bool with_hard, spread, standardize;
};

// Mean and population deviation of both sides.
template <bool kWarpRow>
__device__ void standardize_row(const RowsInput& in, const RowTeam<kWarpRow>& team,
                                const Part& part, const LogitRow& student, const LogitRow& teacher,
                                RowSums& s) {
  const float z0 = logit_at(student, 0), t0 = logit_at(teacher, 0);
  RowState m = no_fields();
  for_part<true>(in, team, part, student, teacher,
                 [&](std::size_t, unsigned count, const float(&z)[8], const float(&t)[8]) {
#pragma unroll
                   for (unsigned k = 0; k < 8; ++k) {
                     if (k >= count) continue;
                     const float dz = z[k] - z0, dt = t[k] - t0;
                     m.student += dz;
                     m.student_moment = fmaf(dz, dz, m.student_moment);
                     m.teacher += dt;
                     m.teacher_moment = fmaf(dt, dt, m.teacher_moment);
                   }
                 });
  m = team.reduce(m, AddFields{});
  const float n = static_cast<float>(in.classes);
  const float zm = m.student / n, tm = m.teacher / n;
  s.student_mean = z0 + zm;
  s.student_deviation = sqrtf(fmaxf(m.student_moment / n - zm * zm, 0.0f));
  const float deviation = sqrtf(fmaxf(m.teacher_moment / n - tm * tm, 0.0f));
  s.student_divisor *= s.student_deviation + 1e-7f;
  s.teacher_divisor *= deviation + 1e-7f;
}

template <bool kWarpRow>
__device__ RowSums sums_of_row(const RowsInput& in, const RowOptions& o,
                               const RowTeam<kWarpRow>& team, const Part& part,
                               const LogitRow& student, const LogitRow& teacher,
                               const std::int64_t* indices, std::int64_t label) {
  RowSums s = {};
  s.student_divisor = s.teacher_divisor = o.temperature;
  s.student_deviation = 1;
  if (o.standardize) standardize_row(in, team, part, student, teacher, s);
  s.scales.student = kLog2E / s.student_divisor;
  s.scales.teacher = kLog2E / s.teacher_divisor;
  if (o.with_hard) {
    const float t = o.temperature;
    s.scales.power = !o.standardize && (t == 1 || t == 2 || t == 4) ? t : 0.0f;
  }
  s.has_label = o.exclude_label && label >= 0;
  const auto y = static_cast<std::size_t>(label);
  const bool dense = indices == nullptr;
  if (s.has_label) {
    s.label_student = logit_at(student, y);
    s.label_teacher = dense ? logit_at(teacher, y) : -INFINITY;
    s.label_weight = in.class_weights ? in.class_weights[y] : 1.0f;
    s.origin = fabsf(s.label_student) < INFINITY ? s.label_student : 0.0f;
  }
  RowState a;
  const bool moments = o.standardize;
  const auto add_vector = [&](std::size_t first, unsigned count, float(&z)[8], float(&t)[8]) {
    if (o.spread) {
#pragma unroll
      for (unsigned k = 0; k < 8; ++k) {
        if (k >= count) continue;
        const float w = in.class_weights ? in.class_weights[first + k] : 1.0f;
        if (w > 0) a.spread = fmaf(w, z[k] - s.origin, a.spread);
      }
    }
    if (s.has_label && y - first < 8) {
#pragma unroll
      for (unsigned k = 0; k < 8; ++k) {
        if (y - first == k) z[k] = t[k] = -INFINITY;
      }
    }
    float z_max = z[0], t_max = t[0];
#pragma unroll
    for (int k = 1; k < 8; ++k) {
      z_max = fmaxf(z_max, z[k]);
      t_max = fmaxf(t_max, t[k]);
    }
    if (z_max > a.student_max || t_max > a.teacher_max) {
      raise(a, fmaxf(z_max, a.student_max), fmaxf(t_max, a.teacher_max), s.scales);
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) add_class(a, z[k], t[k], s.scales, moments, true, dense);
  };
  if (o.standardize) {
    for_part<false>(in, team, part, student, teacher, add_vector);
  } else {
    for_part<true>(in, team, part, student, teacher, add_vector);
  }
  // The teacher's top classes, with the student's logits there.
  const unsigned all_threads = team.size * team.cluster_size;
  for (std::size_t k = team.cluster_rank * team.size + team.rank; !dense && k < in.teacher_columns;
       k += all_threads) {
    const std::int64_t c = indices[k];
    const bool is_class = 0 <= c && c < static_cast<std::int64_t>(in.classes);
    const float z = is_class ? logit_at(student, static_cast<std::size_t>(c)) : NAN;
    const float t = logit_at(teacher, k);
    raise(a, fmaxf(z, a.student_max), fmaxf(t, a.teacher_max), s.scales);
    add_class(a, z, t, s.scales, false, false, true);
  }
  const RowScales scales = s.scales;
  s.others = team.reduce(
      a, [scales](const RowState& x, const RowState& b) { return merged(x, b, scales); });
  s.all = s.others;
  if (s.has_label) {
    raise(s.all, fmaxf(s.label_student, s.all.student_max),
          fmaxf(s.label_teacher, s.all.teacher_max), scales);
    add_class(s.all, s.label_student, s.label_teacher, scales, moments, true, dense);
  }
  return s;
}

// Policy: RowOptions options(in) const;
//         void finish(in, team, part, rows, sums, label): its scalars; float loss() const;
//         float gradient(z, t, weight) const; float label_gradient() const;
//         float top_gradient(t) const: what a top class of the teacher adds.
// Two blocks of a row on a multiprocessor: one writes its gradient while the other reads. That
// leaves 64 registers, and what does not fit is spilled once a row, not in the loops over classes.
template <class Policy, bool kWarpRow>
__global__ void __launch_bounds__(kWarpRow ? kWarpThreads : kRowThreads, 2)
    logit_loss_kernel(RowsInput in, Policy policy) {
  TERSOR_SHARED(float, fields, (kRowThreads / cuda::kWarp) * RowState::kFields);
  TERSOR_DYNAMIC_SHARED(memory);
  const unsigned warps = blockDim.x / cuda::kWarp;
  const std::size_t team_index = kWarpRow
                                     ? blockIdx.x * std::size_t{warps} + threadIdx.x / cuda::kWarp
                                     : blockIdx.x / in.cluster;
  const std::size_t teams = kWarpRow ? gridDim.x * std::size_t{warps} : gridDim.x / in.cluster;
  RowTeam<kWarpRow> team;
  team.rank = kWarpRow ? threadIdx.x % cuda::kWarp : threadIdx.x;
  team.size = kWarpRow ? cuda::kWarp : blockDim.x;
  team.cluster_rank = kWarpRow ? 0 : blockIdx.x % in.cluster;
  team.cluster_size = kWarpRow ? 1 : in.cluster;
  team.shared = fields;
  team.partial = in.partial + team_index * in.cluster * RowState::kFields;
  const auto vectors = static_cast<unsigned>((in.classes + 7) / 8);
  const unsigned share = (vectors + team.cluster_size - 1) / team.cluster_size;
  Part part;
  part.begin = team.cluster_rank * share;
  part.end = part.begin + share < vectors ? part.begin + share : vectors;
  part.cache = reinterpret_cast<uint4*>(memory);
  part.cached = kWarpRow ? 0 : in.cached;
  const bool first_thread = team.rank == 0 && team.cluster_rank == 0;

  for (std::size_t row = team_index; row < in.rows; row += teams) {
    const LogitRow student = row_of(in.student, in.student_bfloat16, in.classes, row);
    const LogitRow teacher = row_of(in.teacher, in.teacher_bfloat16, in.teacher_columns, row);
    auto* const gradient =
        static_cast<unsigned char*>(in.gradient) + row * in.classes * (in.student_bfloat16 ? 2 : 4);
    const bool vector_stores = reinterpret_cast<std::uintptr_t>(gradient) % 16 == 0;
    const std::int64_t label = in.labels ? in.labels[row] : -1;
    const bool counts = !in.labels || label != in.ignore_index;
    const bool valid = !in.labels || (0 <= label && label < static_cast<std::int64_t>(in.classes));
    const auto store = [&](std::size_t first, unsigned count, const float(&g)[8]) {
      store_logits(gradient, in.student_bfloat16, vector_stores, first, count, g);
    };
    if (!counts || !valid) {
      if (first_thread) in.losses[row] = counts ? NAN : 0.0f;
      const float nothing[8] = {};
      for (unsigned v = part.begin + team.rank; in.gradient && v < part.end; v += team.size) {
        const std::size_t left = in.classes - std::size_t{8} * v;
        store(std::size_t{8} * v, static_cast<unsigned>(left < 8 ? left : std::size_t{8}), nothing);
      }
      continue;
    }
    const std::int64_t* indices = in.indices ? in.indices + row * in.teacher_columns : nullptr;
    const RowSums sums =
        sums_of_row(in, policy.options(in), team, part, student, teacher, indices, label);
    Policy p = policy;
    p.finish(in, team, part, student, teacher, sums);
    if (first_thread) in.losses[row] = p.loss();
    if (!in.gradient) continue;
    // Everybody has read the label's logits, which the gradient may overwrite.
    team.barrier();
    for_part<false>(in, team, part, student, teacher,
                    [&](std::size_t first, unsigned count, const float(&z)[8], const float(&t)[8]) {
                      float g[8];
#pragma unroll
                      for (unsigned k = 0; k < 8; ++k) {
                        float w = 1;
                        if (in.class_weights) w = k < count ? in.class_weights[first + k] : 0.0f;
                        g[k] = p.gradient(z[k], t[k], w);
                      }
                      if (sums.has_label && static_cast<std::size_t>(label) - first < 8) {
#pragma unroll
                        for (unsigned k = 0; k < 8; ++k) {
                          if (static_cast<std::size_t>(label) - first == k) {
                            g[k] = p.label_gradient();
                          }
                        }
                      }
                      store(first, count, g);
                    });
    if (!indices) continue;
    team.barrier();
    const unsigned all_threads = team.size * team.cluster_size;
    for (std::size_t k = team.cluster_rank * team.size + team.rank; k < in.teacher_columns;
         k += all_threads) {
      const std::int64_t c = indices[k];
      if (c < 0 || c >= static_cast<std::int64_t>(in.classes)) continue;
      const float by = p.top_gradient(logit_at(teacher, k));
      if (in.student_bfloat16) {
        auto* g = reinterpret_cast<cuda::BFloat16*>(gradient) + c;
        cuda::from_float(cuda::to_float(*g) + by, *g);
      } else {
        reinterpret_cast<float*>(gradient)[c] += by;
      }
    }
  }
}

// Counts the rows, adds the weights; and adds the losses of the rows. On one block, in a fixed
// order.
void count_labels_cuda(const Logits& a, const std::int64_t* labels, std::int64_t ignore_index,
                       const float* class_weights, LabelCounts* counts, cuda::Stream stream);
void add_losses_cuda(const float* losses, std::size_t n, double factor, float* loss,
                     cuda::Stream stream);

template <class Policy>
void run_logit_loss(const char* op, const Logits& a, const std::int64_t* labels,
                    std::int64_t ignore_index, const float* class_weights, const Policy& policy,
                    float* loss, void* gradient, cuda::Stream stream) {
  if (a.rows == 0) return cuda::fill_bytes(loss, 0, sizeof(float), stream);
  TERSOR_CHECK(a.classes < std::size_t{1} << 34, op, ": student must have fewer classes, got ",
               a.classes);
  const cuda::DeviceInfo& device = cuda::device_info(cuda::current_device());
  RowsInput in = {};
  in.student = a.student;
  in.teacher = a.teacher;
  in.student_bfloat16 = a.student_type == LogitType::bfloat16;
  in.teacher_bfloat16 = a.teacher_type == LogitType::bfloat16;
  in.rows = a.rows;
  in.classes = a.classes;
  in.teacher_columns = a.teacher_columns;
  in.indices = a.teacher_indices;
  in.labels = labels;
  in.ignore_index = ignore_index;
  in.class_weights = class_weights;
  in.gradient = gradient;
  in.cluster = 1;
  const bool warp_rows = a.classes <= kWarpClasses;
  cuda::Grid grid;
  grid.stream = stream;
  std::size_t teams;
  if (warp_rows) {
    grid.threads = kWarpThreads;
    constexpr std::size_t kRows = kWarpThreads / cuda::kWarp;
    const std::size_t most = std::size_t{8} * static_cast<std::size_t>(device.multiprocessors);
    grid.blocks.x = static_cast<unsigned>(std::min((a.rows + kRows - 1) / kRows, most));
    teams = grid.blocks.x * kRows;
  } else {
    // A cluster of blocks where a row does not fit the share of shared memory of one.
    const std::size_t bytes =
        16 * ((in.student_bfloat16 ? 1u : 2u) + (in.teacher_bfloat16 ? 1u : 2u));  // of a vector
    const std::size_t vectors = (a.classes + 7) / 8;
    while (device.major >= 9 && in.cluster < kMostCluster &&
           (vectors + in.cluster - 1) / in.cluster * bytes > kCacheBytes) {
      in.cluster *= 2;
    }
    const std::size_t share = (vectors + in.cluster - 1) / in.cluster;
    const std::size_t cache = device.major >= 8 ? kCacheBytes : std::size_t{24} << 10;
    in.cached = a.teacher_indices ? 0 : static_cast<unsigned>(std::min(share, cache / bytes));
    grid.threads = kRowThreads;
    grid.shared_bytes = in.cached * bytes;
    grid.cluster = in.cluster;
    const std::size_t most = std::size_t{4} * static_cast<std::size_t>(device.multiprocessors);
    teams = std::min(a.rows, std::max<std::size_t>(1, most / in.cluster));
    grid.blocks.x = static_cast<unsigned>(teams * in.cluster);
  }
  cuda::Memory counts(sizeof(LabelCounts), stream);
  cuda::Memory losses(a.rows * sizeof(float), stream);
  cuda::Memory partial(in.cluster > 1 ? teams * in.cluster * RowState::kFields * sizeof(float) : 0,
                       stream);
  in.counts = counts.as<LabelCounts>();
  in.losses = losses.as<float>();
  in.partial = partial.as<float>();
  count_labels_cuda(a, labels, ignore_index, class_weights, counts.as<LabelCounts>(), stream);
  auto* kernel = warp_rows ? logit_loss_kernel<Policy, true> : logit_loss_kernel<Policy, false>;
  cuda::launch(op, grid, kernel, in, policy);
  add_losses_cuda(in.losses, a.rows, 1.0, loss, stream);
}

}  // namespace tersor::distillation
