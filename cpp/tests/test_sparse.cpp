// Sparse products against plain loops in double, on every instruction-set level of the CPU. Under
// emulation of another processor this is where its kernels are proven.
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "tersor/base/memory.h"
#include "tersor/sparse/matmul.h"
#include "tersor/sparse/matmul_int8.h"
#include "tersor/sparse/matrix.h"

namespace {

using namespace tersor;

struct Problem {
  int64_t rows, depth, columns;
  std::vector<float> w, x;
};

Problem problem(int64_t rows, int64_t depth, int64_t columns, bool codes) {
  std::mt19937 random(static_cast<unsigned>(rows * 31 + depth * 7 + columns));
  std::uniform_int_distribution<int> code(-127, 127), keep(0, 3);
  Problem p{rows, depth, columns, {}, {}};
  const float scale = codes ? 1.0f : 1.0f / 64;
  for (int64_t i = 0; i < rows * depth; ++i)
    p.w.push_back(keep(random) ? 0.0f : scale * static_cast<float>(code(random)));
  for (int64_t i = 0; i < depth * columns; ++i)
    p.x.push_back(scale * static_cast<float>(code(random)));
  return p;
}

double product(const Problem& p, int64_t m, int64_t n, double* size) {
  double sum = 0;
  *size = 0;
  for (int64_t k = 0; k < p.depth; ++k) {
    const double term = static_cast<double>(p.w[static_cast<size_t>(m * p.depth + k)]) *
                        static_cast<double>(p.x[static_cast<size_t>(k * p.columns + n)]);
    sum += term;
    *size += std::fabs(term);
  }
  return sum;
}

constexpr int64_t kShapes[][3] = {{1, 1, 1},    {5, 9, 1},    {37, 130, 1},  {33, 70, 3},
                                  {20, 50, 16}, {64, 96, 49}, {70, 200, 65}, {21, 300, 131}};

}  // namespace

TEST(spmm_matches_double) {
  for (const auto& shape : kShapes) {
    const Problem p = problem(shape[0], shape[1], shape[2], false);
    const auto rows = sparse::rows_of_dense(p.w.data(), p.rows, p.depth, p.depth);
    const sparse::SpmmPlan plan(rows, p.columns);
    std::vector<float> y(static_cast<size_t>(p.rows * p.columns));
    Buffer scratch(plan.scratch_bytes(p.columns, 2));
    plan.run(p.x.data(), p.columns, p.columns, {}, y.data(), p.columns, scratch.data(), 2);
    for (int64_t m = 0; m < p.rows; ++m) {
      for (int64_t n = 0; n < p.columns; ++n) {
        double size;
        const double wanted = product(p, m, n, &size);
        const double got = static_cast<double>(y[static_cast<size_t>(m * p.columns + n)]);
        EXPECT(std::fabs(wanted - got) <= static_cast<double>(p.depth + 2) * 1.2e-7 * size);
      }
    }
  }
}

TEST(spmm_int8_is_exact) {
  for (const auto form : {sparse::Int8Form::pairs, sparse::Int8Form::quads}) {
    for (const auto& shape : kShapes) {
      const Problem p = problem(shape[0], shape[1], shape[2], true);
      const auto rows = sparse::rows_of_dense(p.w.data(), p.rows, p.depth, p.depth);
      const sparse::SpmmInt8Plan plan(rows, p.columns, {}, form);
      const std::vector<int8_t> x(p.x.begin(), p.x.end());
      std::vector<int32_t> y(static_cast<size_t>(p.rows * p.columns));
      Buffer scratch(plan.scratch_bytes(p.columns, 2));
      plan.run(x.data(), true, p.columns, p.columns, nullptr, y.data(), p.columns, scratch.data(),
               2);
      for (int64_t m = 0; m < p.rows; ++m) {
        for (int64_t n = 0; n < p.columns; ++n) {
          double size;
          const double wanted = product(p, m, n, &size);
          EXPECT(wanted == static_cast<double>(y[static_cast<size_t>(m * p.columns + n)]));
        }
      }
    }
  }
}

TEST(formats_round_trip) {
  const Problem p = problem(13, 77, 1, true);
  const auto rows = sparse::rows_of_dense(p.w.data(), p.rows, p.depth, p.depth);
  for (int format = 0; format < sparse::kSparseFormats; ++format) {
    sparse::SparseLayout layout;
    layout.format = static_cast<sparse::SparseFormat>(format);
    layout.rows = p.rows;
    layout.columns = p.depth;
    layout.n = layout.m = 4;
    const auto parts = sparse::encode_sparse(rows, layout);
    const auto again = sparse::decode_sparse(parts, layout);
    EXPECT(again.start == rows.start);
    EXPECT(again.column == rows.column);
    EXPECT(again.value == rows.value);
    const auto bytes = parts.values.size() + parts.indices.size() + parts.starts.size();
    EXPECT(static_cast<int64_t>(bytes) == sparse::encoded_bytes(rows, layout));
  }
}

TEST_MAIN()
