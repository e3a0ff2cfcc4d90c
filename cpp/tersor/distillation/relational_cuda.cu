#include <cmath>

#include "tersor/base/error.h"
#include "tersor/cuda/launch.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/distillation/logit_loss_cuda.h"
#include "tersor/distillation/relational.h"

namespace tersor::distillation {
namespace {

using cuda::kThreads;

// Both sides' squared distances and 1 / distance, all of n x n.
struct Pairs {
  float *student, *student_inverse, *teacher, *teacher_inverse;
};
// Means of the positive distances, how many there are; what the distance term needs.
struct PairSums {
  double student_mean, student_count, teacher_mean, loss, along;
};

__device__ float huber(float d) { return fabsf(d) <= 1 ? 0.5f * d * d : fabsf(d) - 0.5f; }
__device__ float huber_slope(float d) { return fabsf(d) <= 1 ? d : copysignf(1.0f, d); }

__global__ void __launch_bounds__(kThreads)
    squared_distances_kernel(const float* x, std::size_t n, std::size_t dimensions, float* squared,
                             float* inverse) {
  for (std::size_t at = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; at < n * n;
       at += std::size_t{gridDim.x} * blockDim.x) {
    const float* a = x + at / n * dimensions;
    const float* b = x + at % n * dimensions;
    float sum = 0;
    for (std::size_t c = 0; c < dimensions; ++c) {
      const float d = a[c] - b[c];
      sum = fmaf(d, d, sum);
    }
    squared[at] = sum;
    inverse[at] = sum > 0 ? 1 / sqrtf(sum) : 0.0f;
  }
}

__device__ float relative_difference(const Pairs& p, const PairSums& s, std::size_t at,
                                     float& student) {
  student = s.student_mean > 0
                ? static_cast<float>(sqrt(static_cast<double>(p.student[at])) / s.student_mean)
                : 0.0f;
  const float teacher =
      s.teacher_mean > 0
          ? static_cast<float>(sqrt(static_cast<double>(p.teacher[at])) / s.teacher_mean)
          : 0.0f;
  return student - teacher;
}

// On one block: n x n is small beside n x n x n.
__global__ void __launch_bounds__(kThreads)
    pair_sums_kernel(Pairs p, std::size_t pairs, PairSums* out) {
  TERSOR_SHARED(double, shared, 6 * kThreads / cuda::kWarp);
  constexpr unsigned kWarps = kThreads / cuda::kWarp;
  double sums[4] = {};
  for (std::size_t at = threadIdx.x; at < pairs; at += blockDim.x) {
    sums[0] += sqrt(static_cast<double>(p.student[at]));
    sums[1] += p.student[at] > 0;
    sums[2] += sqrt(static_cast<double>(p.teacher[at]));
    sums[3] += p.teacher[at] > 0;
  }
  for (int i = 0; i < 4; ++i) {
    sums[i] = cuda::block_reduce(sums[i], shared + static_cast<unsigned>(i) * kWarps, cuda::Add{});
  }
  PairSums s = {};
  s.student_count = sums[1];
  s.student_mean = sums[1] > 0 ? sums[0] / sums[1] : sums[0];
  s.teacher_mean = sums[3] > 0 ? sums[2] / sums[3] : sums[2];
  double loss = 0, along = 0;
  for (std::size_t at = threadIdx.x; at < pairs; at += blockDim.x) {
    float student;
    const float d = relative_difference(p, s, at, student);
    loss += static_cast<double>(huber(d));
    along += static_cast<double>(huber_slope(d) * student);
  }
  s.loss = cuda::block_reduce(loss, shared + 4 * kWarps, cuda::Add{});
  s.along = cuda::block_reduce(along, shared + 5 * kWarps, cuda::Add{});
  // A NaN distance is in the sums but not above 0.
  if (isnan(sums[0]) || isnan(sums[2])) s.loss = NAN;
  if (threadIdx.x == 0) *out = s;
}

__device__ float cosine(const float* squared, const float* inverse, std::size_t n, std::size_t i,
                        std::size_t j, std::size_t k) {
  // Law of cosines; 0 where a side has no length.
  return 0.5f * (squared[i * n + j] + squared[i * n + k] - squared[j * n + k]) *
         inverse[i * n + j] * inverse[i * n + k];
}

// slopes[j][i], the loss's gradient in the squared distance (not symmetric), and losses[j]. A block
// per j; thread i takes the angles at i (over k), then those across from i (over the vertices), so
// that nothing is added by two threads.
__global__ void __launch_bounds__(kThreads)
    slopes_kernel(Pairs p, const PairSums* sums, std::size_t n, float distance_weight,
                  float angle_weight, float* slopes, float* losses) {
  TERSOR_SHARED(double, shared, kThreads / cuda::kWarp);
  const std::size_t j = blockIdx.x;
  const PairSums s = *sums;
  const double pairs = static_cast<double>(n) * static_cast<double>(n);
  const double triples = pairs * static_cast<double>(n);
  double loss = 0;
  for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) {
    double slope_sum = 0;
    const std::size_t at = j * n + i;
    if (distance_weight > 0 && s.student_mean > 0 && p.student[at] > 0) {
      float student;
      const float d = relative_difference(p, s, at, student);
      const double in_distance =
          (static_cast<double>(huber_slope(d)) - s.along / s.student_count) / s.student_mean;
      slope_sum += static_cast<double>(distance_weight) / pairs * in_distance * 0.5 *
                   static_cast<double>(p.student_inverse[at]);
    }
    if (angle_weight > 0) {
      const float inverse = p.student_inverse[i * n + j];
      double side = 0, across = 0, angles = 0;
      for (std::size_t k = 0; k < n; ++k) {
        const float c = cosine(p.student, p.student_inverse, n, i, j, k);
        const float d = c - cosine(p.teacher, p.teacher_inverse, n, i, j, k);
        angles += static_cast<double>(huber(d));
        const float product = 0.5f * inverse * p.student_inverse[i * n + k];
        side +=
            static_cast<double>(2 * huber_slope(d) * fmaf(-0.5f * c * inverse, inverse, product));
        // The same with the roles of i and k changed.
        const float c2 = cosine(p.student, p.student_inverse, n, k, j, i);
        const float d2 = c2 - cosine(p.teacher, p.teacher_inverse, n, k, j, i);
        across -= static_cast<double>(huber_slope(d2) * 0.5f * p.student_inverse[k * n + j] *
                                      p.student_inverse[k * n + i]);
      }
      loss += angles;
      slope_sum += static_cast<double>(angle_weight) / triples * (side + across);
    }
    slopes[at] = static_cast<float>(slope_sum);
  }
  loss = cuda::block_reduce(loss, shared, cuda::Add{});
  if (threadIdx.x == 0) {
    double sum = static_cast<double>(angle_weight) * loss / triples;
    if (j == 0) sum += static_cast<double>(distance_weight) * s.loss / pairs;
    losses[j] = static_cast<float>(sum);
  }
}

__global__ void __launch_bounds__(kThreads)
    relational_gradient_kernel(const float* x, const float* slopes, std::size_t n,
                               std::size_t dimensions, float* gradient) {
  for (std::size_t at = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; at < n * dimensions;
       at += std::size_t{gridDim.x} * blockDim.x) {
    const std::size_t i = at / dimensions, c = at % dimensions;
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const float w = 2 * (slopes[i * n + j] + slopes[j * n + i]);
      sum += static_cast<double>(w * (x[at] - x[j * dimensions + c]));
    }
    gradient[at] = static_cast<float>(sum);
  }
}

}  // namespace

void relational_loss_cuda(const Embeddings& e, float distance_weight, float angle_weight,
                          float* loss, float* gradient, cuda::Stream stream) {
  TERSOR_CHECK(std::isfinite(distance_weight) && distance_weight >= 0,
               "relational_loss: distance must be finite and >= 0, got ", distance_weight);
  TERSOR_CHECK(std::isfinite(angle_weight) && angle_weight >= 0,
               "relational_loss: angle must be finite and >= 0, got ", angle_weight);
  const std::size_t n = e.rows;
  if (n == 0) return cuda::fill_bytes(loss, 0, sizeof(float), stream);
  cuda::Memory memory((5 * n * n + n) * sizeof(float), stream), sums(sizeof(PairSums), stream);
  float* const at = memory.as<float>();
  const Pairs p = {at, at + n * n, at + 2 * n * n, at + 3 * n * n};
  float* const slopes = at + 4 * n * n;
  float* const losses = at + 5 * n * n;
  cuda::Grid grid;
  grid.stream = stream;
  grid.blocks.x = cuda::blocks_for(n * n);
  cuda::launch("relational_loss", grid, squared_distances_kernel, e.student, n,
               e.student_dimensions, p.student, p.student_inverse);
  cuda::launch("relational_loss", grid, squared_distances_kernel, e.teacher, n,
               e.teacher_dimensions, p.teacher, p.teacher_inverse);
  grid.blocks.x = 1;
  cuda::launch("relational_loss", grid, pair_sums_kernel, p, n * n, sums.as<PairSums>());
  grid.blocks.x = static_cast<unsigned>(n);
  cuda::launch("relational_loss", grid, slopes_kernel, p, sums.as<PairSums>(), n, distance_weight,
               angle_weight, slopes, losses);
  add_losses_cuda(losses, n, 1.0, loss, stream);
  if (!gradient) return;
  cuda::Memory copy;
  const float* x = e.student;
  const std::size_t size = n * e.student_dimensions;
  if (gradient == x) {
    copy = cuda::Memory(size * sizeof(float), stream);
    cuda::copy_on_device(copy.data(), x, size * sizeof(float), stream);
    x = copy.as<float>();
  }
  grid.blocks.x = cuda::blocks_for(size);
  cuda::launch("relational_loss", grid, relational_gradient_kernel, x, slopes, n,
               e.student_dimensions, gradient);
}

}  // namespace tersor::distillation
