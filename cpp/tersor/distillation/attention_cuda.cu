#include "tersor/cuda/launch.h"
#include "tersor/cuda/load.h"
#include "tersor/cuda/reduce.h"
#include "tersor/cuda/shared.h"
#include "tersor/distillation/logit_loss_cuda.h"

namespace tersor::distillation {
namespace {

using cuda::kThreads;

__device__ float squared(float x) { return x * x; }

// map[sample][position]: a thread per position where channels come first, else a warp.
template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_map_kernel(const T* x, float* map, std::size_t samples, std::size_t channels,
                         std::size_t positions, bool channels_last) {
  const std::size_t places = samples * positions;
  const unsigned together = channels_last ? cuda::kWarp : 1;
  const std::size_t workers = std::size_t{gridDim.x} * blockDim.x / together;
  for (std::size_t i = (blockIdx.x * std::size_t{blockDim.x} + threadIdx.x) / together; i < places;
       i += workers) {
    float sum = 0;
    if (channels_last) {
      for (std::size_t c = threadIdx.x % cuda::kWarp; c < channels; c += cuda::kWarp) {
        sum += squared(cuda::to_float(x[i * channels + c]));
      }
      sum = cuda::warp_reduce(sum, cuda::Add{});
      if (threadIdx.x % cuda::kWarp == 0) map[i] = sum;
    } else {
      const std::size_t n = i / positions, j = i - n * positions;
      for (std::size_t c = 0; c < channels; ++c) {
        sum += squared(cuda::to_float(x[(n * channels + c) * positions + j]));
      }
      map[i] = sum;
    }
  }
}

// A block per sample: norms, the loss, and the factor of each position in the gradient.
__global__ void __launch_bounds__(kThreads)
    attention_sample_kernel(const float* student, const float* teacher, float* factor,
                            float* losses, std::size_t positions, double weight) {
  TERSOR_SHARED(double, shared, 4 * kThreads / cuda::kWarp);
  const std::size_t first = blockIdx.x * positions;
  constexpr unsigned kWarps = kThreads / cuda::kWarp;
  double student_squares = 0, teacher_squares = 0;
  for (std::size_t j = threadIdx.x; j < positions; j += blockDim.x) {
    const double s = student[first + j], t = teacher[first + j];
    student_squares += s * s;
    teacher_squares += t * t;
  }
  student_squares = cuda::block_reduce(student_squares, shared, cuda::Add{});
  teacher_squares = cuda::block_reduce(teacher_squares, shared + kWarps, cuda::Add{});
  const double student_norm = fmax(sqrt(student_squares), 1e-12);
  const double teacher_norm = fmax(sqrt(teacher_squares), 1e-12);
  double loss = 0, along = 0;
  for (std::size_t j = threadIdx.x; j < positions; j += blockDim.x) {
    const double a = student[first + j] / student_norm;
    const double d = a - teacher[first + j] / teacher_norm;
    loss += d * d;
    along += a * d;
  }
  loss = cuda::block_reduce(loss, shared + 2 * kWarps, cuda::Add{});
  along = cuda::block_reduce(along, shared + 3 * kWarps, cuda::Add{});
  if (student_norm <= 1e-12) along = 0;  // below its floor the norm is a constant
  for (std::size_t j = threadIdx.x; j < positions; j += blockDim.x) {
    const double a = student[first + j] / student_norm;
    const double d = a - teacher[first + j] / teacher_norm;
    factor[first + j] = static_cast<float>(4 * weight * (d - a * along) / student_norm);
  }
  if (threadIdx.x == 0) losses[blockIdx.x] = static_cast<float>(loss * weight);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_gradient_kernel(const T* x, const float* factor, T* gradient, std::size_t samples,
                              std::size_t channels, std::size_t positions, bool channels_last) {
  const std::size_t size = samples * channels * positions;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < size;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const std::size_t place =
        channels_last ? i / channels : i / (channels * positions) * positions + i % positions;
    cuda::from_float(cuda::to_float(x[i]) * factor[place], gradient[i]);
  }
}

void make_map(const void* x, cuda::Number type, float* map, const DeviceFeatures& f,
              std::size_t channels, cuda::Stream stream) {
  cuda::Grid grid;
  grid.blocks.x = cuda::blocks_for(f.samples * f.positions * (f.channels_last ? cuda::kWarp : 1));
  grid.stream = stream;
  cuda::with_number(type, [&](auto number) {
    using T = decltype(number);
    cuda::launch("attention_loss", grid, attention_map_kernel<T>, static_cast<const T*>(x), map,
                 f.samples, channels, f.positions, f.channels_last);
  });
}

}  // namespace

void attention_loss_cuda(const DeviceFeatures& f, float* loss, void* gradient,
                         cuda::Stream stream) {
  const std::size_t places = f.samples * f.positions;
  if (places == 0) return cuda::fill_bytes(loss, 0, sizeof(float), stream);
  cuda::Memory maps((3 * places + f.samples) * sizeof(float), stream);
  float* const student = maps.as<float>();
  float* const teacher = student + places;
  float* const factor = teacher + places;
  float* const losses = factor + places;
  make_map(f.student, f.student_type, student, f, f.student_channels, stream);
  make_map(f.teacher, f.teacher_type, teacher, f, f.teacher_channels, stream);
  cuda::Grid grid;
  grid.blocks.x = static_cast<unsigned>(f.samples);
  grid.stream = stream;
  cuda::launch("attention_loss", grid, attention_sample_kernel, student, teacher, factor, losses,
               f.positions, 1.0 / static_cast<double>(places));
  add_losses_cuda(losses, f.samples, 1.0, loss, stream);
  if (!gradient) return;
  grid.blocks.x = cuda::blocks_for(f.samples * f.student_channels * f.positions);
  cuda::with_number(f.student_type, [&](auto number) {
    using T = decltype(number);
    cuda::launch("attention_loss", grid, attention_gradient_kernel<T>,
                 static_cast<const T*>(f.student), factor, static_cast<T*>(gradient), f.samples,
                 f.student_channels, f.positions, f.channels_last);
  });
}

}  // namespace tersor::distillation
