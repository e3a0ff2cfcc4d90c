#include "tersor/distillation/relational.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/distillation/kernels.h"

namespace tersor::distillation {
namespace {

// About 20 us of work for a thread, several times what waking it costs.
constexpr std::size_t kOperationsPerThread = 1 << 16;

std::size_t rows_per_thread(std::size_t operations_per_row) {
  return std::max<std::size_t>(1,
                               kOperationsPerThread / std::max<std::size_t>(operations_per_row, 1));
}

struct Side {
  std::vector<float> squared, inverse;
  double mean = 0;  // of the positive distances
  double positive = 0;

  Side(const float* x, std::size_t rows, std::size_t dimensions)
      : squared(rows * rows), inverse(rows * rows) {
    const auto kernel = squared_distances_table.pick();
    parallel_for(rows, rows_per_thread(rows * dimensions), [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        float* const row = squared.data() + i * rows;
        kernel(x, rows, dimensions, i, row);
        for (std::size_t j = 0; j < rows; ++j) {
          inverse[i * rows + j] = row[j] > 0 ? 1 / std::sqrt(row[j]) : 0.0f;
        }
      }
    });
    for (const float s : squared) {
      mean += std::sqrt(double{s});
      positive += s > 0;
    }
    if (positive > 0) mean /= positive;
  }
  Distances view() const { return {squared.data(), inverse.data()}; }
  // Distance in units of the mean.
  double relative(std::size_t at) const {
    return mean > 0 ? std::sqrt(double{squared[at]}) / mean : 0.0;
  }
};

double huber(double d) { return std::fabs(d) <= 1 ? 0.5 * d * d : std::fabs(d) - 0.5; }
double huber_slope(double d) { return std::fabs(d) <= 1 ? d : std::copysign(1.0, d); }

// Adds weight times the gradient in the student's squared distances to `slopes`.
double distance_term(const Side& student, const Side& teacher, double weight,
                     std::vector<double>& slopes) {
  const double count = static_cast<double>(student.squared.size());
  double loss = 0, along = 0;
  for (std::size_t at = 0; at < student.squared.size(); ++at) {
    const double d = student.relative(at) - teacher.relative(at);
    loss += huber(d);
    along += huber_slope(d) * student.relative(at);
  }
  if (student.mean > 0) {
    for (std::size_t at = 0; at < student.squared.size(); ++at) {
      if (student.squared[at] == 0) continue;
      const double slope = huber_slope(student.relative(at) - teacher.relative(at));
      const double in_distance = (slope - along / student.positive) / student.mean;
      slopes[at] += weight / count * in_distance * 0.5 * student.inverse[at];
    }
  }
  return weight * loss / count;
}

double angle_term(const Side& student, const Side& teacher, std::size_t rows, double weight,
                  std::vector<double>& slopes) {
  const double count =
      static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(rows);
  const auto kernel = angles_of_side_table.pick();
  std::vector<double> losses(rows);
  // Row j of `slopes` belongs to one thread; its order of sums is fixed.
  parallel_for(rows, rows_per_thread(rows * rows), [&](std::size_t begin, std::size_t end) {
    std::vector<double> side(rows);
    std::vector<float> across(rows);
    for (std::size_t j = begin; j < end; ++j) {
      std::fill(side.begin(), side.end(), 0.0);
      std::fill(across.begin(), across.end(), 0.0f);
      losses[j] = kernel(student.view(), teacher.view(), rows, j, side.data(), across.data());
      for (std::size_t i = 0; i < rows; ++i) {
        slopes[j * rows + i] += weight / count * (side[i] + across[i]);
      }
    }
  });
  double loss = 0;
  for (const double l : losses) loss += l;
  return weight * loss / count;
}

void check_finite(const char* name, const float* x, std::size_t rows, std::size_t dimensions) {
  for (std::size_t i = 0; i < rows * dimensions; ++i) {
    TERSOR_CHECK(std::isfinite(x[i]), "relational_loss: ", name, " must be finite, got ", x[i],
                 " in row ", i / dimensions);
  }
}

}  // namespace

double relational_loss(const Embeddings& e, float distance_weight, float angle_weight,
                       float* gradient) {
  TERSOR_CHECK(std::isfinite(distance_weight) && distance_weight >= 0,
               "relational_loss: distance must be finite and >= 0, got ", distance_weight);
  TERSOR_CHECK(std::isfinite(angle_weight) && angle_weight >= 0,
               "relational_loss: angle must be finite and >= 0, got ", angle_weight);
  const std::size_t rows = e.rows, dimensions = e.student_dimensions;
  if (rows == 0) return 0;
  const Side student(e.student, rows, dimensions), teacher(e.teacher, rows, e.teacher_dimensions);
  if (!std::isfinite(student.mean)) check_finite("student", e.student, rows, dimensions);
  if (!std::isfinite(teacher.mean)) check_finite("teacher", e.teacher, rows, e.teacher_dimensions);
  std::vector<double> slopes(rows * rows, 0.0);  // of the loss in squared[i][j], not symmetric
  double loss = 0;
  if (distance_weight > 0) loss += distance_term(student, teacher, distance_weight, slopes);
  if (angle_weight > 0) loss += angle_term(student, teacher, rows, angle_weight, slopes);
  if (!gradient) return loss;
  const auto kernel = weighted_differences_table.pick();
  std::vector<float> copy;
  const float* x = e.student;
  if (gradient == x) {
    copy.assign(x, x + rows * dimensions);
    x = copy.data();
  }
  parallel_for(rows, rows_per_thread(rows * dimensions), [&](std::size_t begin, std::size_t end) {
    std::vector<float> weights(rows);
    for (std::size_t i = begin; i < end; ++i) {
      for (std::size_t j = 0; j < rows; ++j) {
        weights[j] = static_cast<float>(2 * (slopes[i * rows + j] + slopes[j * rows + i]));
      }
      kernel(x, weights.data(), rows, dimensions, i, gradient + i * dimensions);
    }
  });
  return loss;
}

}  // namespace tersor::distillation
