// Sums over the rows of a batch, before and after the losses.
#include "tersor/distillation/logit_loss_cuda.h"

namespace tersor::distillation {
namespace {

constexpr unsigned kOneBlock = 1024;

__global__ void __launch_bounds__(kOneBlock)
    count_labels_kernel(const std::int64_t* labels, std::size_t rows, std::size_t classes,
                        std::int64_t ignore_index, const float* weights, LabelCounts* counts) {
  TERSOR_SHARED(double, shared, kOneBlock / cuda::kWarp);
  double count = 0, label_weights = 0, class_weights = 0;
  for (std::size_t r = threadIdx.x; r < rows; r += blockDim.x) {
    const std::int64_t y = labels ? labels[r] : 0;
    if (labels && y == ignore_index) continue;
    count += 1;
    const bool valid = 0 <= y && y < static_cast<std::int64_t>(classes);
    label_weights += weights && valid ? static_cast<double>(weights[y]) : 1.0;
  }
  for (std::size_t c = threadIdx.x; weights && c < classes; c += blockDim.x) {
    class_weights += static_cast<double>(weights[c]);
  }
  count = cuda::block_reduce(count, shared, cuda::Add{});
  __syncthreads();
  label_weights = cuda::block_reduce(label_weights, shared, cuda::Add{});
  __syncthreads();
  class_weights = cuda::block_reduce(class_weights, shared, cuda::Add{});
  if (threadIdx.x == 0) *counts = {count, label_weights, class_weights};
}

__global__ void __launch_bounds__(kOneBlock)
    add_losses_kernel(const float* losses, std::size_t n, double factor, float* loss) {
  TERSOR_SHARED(double, shared, kOneBlock / cuda::kWarp);
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < n; i += blockDim.x) sum += static_cast<double>(losses[i]);
  sum = cuda::block_reduce(sum, shared, cuda::Add{});
  if (threadIdx.x == 0) *loss = static_cast<float>(sum * factor);
}

}  // namespace

void count_labels_cuda(const Logits& a, const std::int64_t* labels, std::int64_t ignore_index,
                       const float* class_weights, LabelCounts* counts, cuda::Stream stream) {
  cuda::Grid grid;
  grid.threads = kOneBlock;
  grid.stream = stream;
  cuda::launch("count_labels", grid, count_labels_kernel, labels, a.rows, a.classes, ignore_index,
               class_weights, counts);
}

void add_losses_cuda(const float* losses, std::size_t n, double factor, float* loss,
                     cuda::Stream stream) {
  cuda::Grid grid;
  grid.threads = kOneBlock;
  grid.stream = stream;
  cuda::launch("add_losses", grid, add_losses_kernel, losses, n, factor, loss);
}

}  // namespace tersor::distillation
