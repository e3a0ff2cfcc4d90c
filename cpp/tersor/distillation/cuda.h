// The losses of kd.h, dkd.h, jsd.h, mse.h and attention.h with their gradients on a CUDA device.
//
// Everything is enqueued on the stream and nothing waits for it: the loss is a float in device
// memory. What the CPU raises as an error (NaN or +inf among the logits of a row that counts, a
// label that is no class) makes the loss NaN. Float32 arithmetic, per-row terms added in double in
// a fixed order: results do not depend on the schedule. |error of the loss| <= 1e-6 * (T^2 + loss).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersor/cuda/stream.h"
#include "tersor/distillation/dkd.h"
#include "tersor/distillation/jsd.h"
#include "tersor/distillation/kd.h"
#include "tersor/distillation/logits.h"

namespace tersor::distillation {

// Pointers in `logits`, labels and options are device pointers; gradient may be null (no gradient)
// or the student's memory. At most one buffer of the logits' size is written, the gradient.
void kd_loss_cuda(const Logits& logits, const std::int64_t* labels, const KdOptions& options,
                  float* loss, void* gradient, cuda::Stream stream);
void dkd_loss_cuda(const Logits& logits, const std::int64_t* labels, const DkdOptions& options,
                   float* loss, void* gradient, cuda::Stream stream);
void jsd_loss_cuda(const Logits& logits, const std::int64_t* labels, const JsdOptions& options,
                   float* loss, void* gradient, cuda::Stream stream);

// Mean of (x - y)^2 over n values; gradient of x's type or null.
void mean_squared_difference_cuda(const void* x, cuda::Number x_type, const void* y,
                                  cuda::Number y_type, std::size_t n, float* loss, void* gradient,
                                  cuda::Stream stream);

struct DeviceFeatures {
  const void* student = nullptr;
  const void* teacher = nullptr;
  std::size_t samples = 0, student_channels = 0, teacher_channels = 0, positions = 0;
  bool channels_last = false;
  cuda::Number student_type = cuda::Number::float32, teacher_type = cuda::Number::float32;
};
void attention_loss_cuda(const DeviceFeatures& features, float* loss, void* gradient,
                         cuda::Stream stream);

// relational.h; device pointers, float32.
struct Embeddings;
void relational_loss_cuda(const Embeddings& embeddings, float distance_weight, float angle_weight,
                          float* loss, float* gradient, cuda::Stream stream);

// gradient[i] *= *factor, a float in device memory.
void scale_gradient_cuda(void* gradient, cuda::Number type, std::size_t n, const float* factor,
                         cuda::Stream stream);

}  // namespace tersor::distillation
