// Sparse products against plain loops in double, on every instruction-set level of the CPU. Under
// emulation of another processor this is where its kernels are proven.
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "tersor/base/memory.h"
#include "tersor/sparse/matmul.h"
#include "tersor/sparse/matmul_int8.h"
#include "tersor/sparse/matrix.h"
#include "tersor/sparse/offsets_int8.h"

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

TEST(spmm_int8_offsets_are_exact) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int> byte(0, 255), keep(0, 2);
  for (const int64_t columns : {1, 7, 8, 33, 100, 130}) {
    const int64_t rows = 19, depth = 90, tile = 40;  // offsets of words, read in three tiles
    const auto size = static_cast<size_t>(depth + sparse::SpmmInt8Offsets::slack(columns));
    std::vector<uint32_t> x(size);
    for (uint32_t& word : x) {
      for (int i = 0; i < 4; ++i) word = word << 8 | static_cast<uint32_t>(byte(random));
    }
    sparse::SparseRows w{rows, depth, {0}, {}, {}};
    for (int64_t r = 0; r < rows; ++r) {
      for (int32_t k = 0; k < depth; ++k) {
        if (keep(random)) continue;
        uint32_t four = 0;
        for (int i = 0; i < 4; ++i) four = four << 8 | static_cast<uint32_t>(byte(random));
        w.column.push_back(k);
        w.value.push_back(std::bit_cast<float>(four));
      }
      w.start.push_back(w.entries());
    }
    const sparse::SpmmInt8Offsets product(w, tile, rows);
    std::vector<int32_t> y(static_cast<size_t>(rows * columns)), bias(rows, -5);
    Buffer sums(product.sums_words(columns) * sizeof(int32_t));
    for (int64_t block = 0; block < product.blocks(); ++block)
      product.run(block, {x.data(), columns, bias.data(), y.data(), columns, sums.as<int32_t>()});
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      for (int64_t n = 0; n < columns; ++n) {
        int32_t sum = -5;
        for (auto e = static_cast<size_t>(w.start[r]); e < static_cast<size_t>(w.start[r + 1]);
             ++e) {
          const auto four = std::bit_cast<uint32_t>(w.value[e]);
          const uint32_t word = x[static_cast<size_t>(w.column[e] + n)];
          for (int i = 0; i < 4; ++i)
            sum += static_cast<int8_t>(four >> (8 * i) & 255) *
                   static_cast<int32_t>(word >> (8 * i) & 255);
        }
        EXPECT(sum == y[r * static_cast<size_t>(columns) + static_cast<size_t>(n)]);
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
