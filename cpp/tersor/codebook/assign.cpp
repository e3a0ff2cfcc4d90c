#include "tersor/codebook/assign.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "tersor/base/threads.h"
#include "tersor/codebook/kernels.h"

namespace tersor::codebook {
namespace {

// Values of a piece: errors are summed per piece, then in order.
constexpr std::size_t kPiece = 65536;

// The largest float32 that is not above the middle of a and b.
float threshold_between(float a, float b) {
  const double middle = 0.5 * (static_cast<double>(a) + static_cast<double>(b));
  const auto rounded = static_cast<float>(middle);
  if (static_cast<double>(rounded) <= middle) return rounded;
  return std::nextafter(rounded, -std::numeric_limits<float>::infinity());
}

template <class Piece>
double in_pieces(std::size_t n, const Piece& piece) {
  std::vector<double> errors((n + kPiece - 1) / kPiece);
  parallel_tasks(errors.size(), 0, [&](std::size_t p, int) {
    errors[p] = piece(p * kPiece, std::min(n, (p + 1) * kPiece));
  });
  double sum = 0;
  for (const double error : errors) sum += error;
  return sum;
}

template <class T>
double weighted_error(const T* x, const float* weights, std::size_t first, std::size_t end,
                      const std::vector<T>& centroids, const uint8_t* codes) {
  double sum = 0;
  for (std::size_t i = first; i < end; ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(centroids[codes[i]]);
    sum += weights ? weights[i] * d * d : d * d;
  }
  return sum;
}

}  // namespace

AssignTable assign_table(const std::vector<float>& centroids, int zero) {
  AssignTable table{};
  std::copy(centroids.begin(), centroids.end(), table.centroids);
  table.zero = zero;
  std::vector<float> others = centroids;
  if (zero >= 0) others.erase(others.begin() + zero);
  table.count = std::max(0, static_cast<int>(others.size()) - 1);
  table.steps = std::bit_width(static_cast<unsigned>(table.count));
  std::fill(std::begin(table.thresholds), std::end(table.thresholds),
            std::numeric_limits<float>::infinity());
  for (std::size_t j = 0; j < static_cast<std::size_t>(table.count); ++j) {
    table.thresholds[j] = threshold_between(others[j], others[j + 1]);
  }
  return table;
}

double assign(const float* x, const float* weights, std::size_t n,
              const std::vector<float>& centroids, int zero, uint8_t* codes) {
  const AssignTable table = assign_table(centroids, zero);
  auto* const kernel = assign_nearest_table.pick();
  return in_pieces(n, [&](std::size_t first, std::size_t end) {
    double error = 0;
    kernel(x + first, end - first, table, codes + first, &error);
    return weights ? weighted_error(x, weights, first, end, centroids, codes) : error;
  });
}

double assign(const double* x, const float* weights, std::size_t n,
              const std::vector<double>& centroids, int zero, uint8_t* codes) {
  std::vector<double> middles = centroids;
  if (zero >= 0) middles.erase(middles.begin() + zero);
  for (std::size_t j = 0; j + 1 < middles.size(); ++j) {
    middles[j] = 0.5 * middles[j] + 0.5 * middles[j + 1];
  }
  if (!middles.empty()) middles.pop_back();
  return in_pieces(n, [&](std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
      auto code = std::lower_bound(middles.begin(), middles.end(), x[i]) - middles.begin();
      if (zero >= 0) code = x[i] == 0 ? zero : code + (code >= zero);
      codes[i] = static_cast<uint8_t>(code);
    }
    return weighted_error(x, weights, first, end, centroids, codes);
  });
}

}  // namespace tersor::codebook
