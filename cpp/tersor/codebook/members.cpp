#include "tersor/codebook/members.h"

#include <algorithm>
#include <array>
#include <vector>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"

namespace tersor::codebook {
namespace {

constexpr std::size_t kPiece = 65536;
constexpr std::size_t kCodes = 256;

void check_codes(const char* operation, const CodedValues& c, std::size_t first, std::size_t end) {
  if (c.k >= kCodes) return;
  std::uint8_t highest = 0;
  for (std::size_t i = first; i < end; ++i) highest = std::max(highest, c.codes[i]);
  TERSOR_CHECK(first == end || highest < c.k, operation, ": codes must be below ", c.k, ", got ",
               static_cast<int>(highest));
}

template <class T>
void decode(const char* operation, const CodedValues& coded, const T* table, T* out) {
  const std::size_t step = coded.step;
  parallel_for(coded.n, kPiece, [&](std::size_t first, std::size_t end) {
    check_codes(operation, coded, first, end);
    for (std::size_t i = first; i < end;) {
      const std::size_t stop = std::min(end, (i / step + 1) * step);
      const T* const values = table + i / step * coded.k;
      for (; i < stop; ++i) out[i] = values[coded.codes[i]];
    }
  });
}

using Sums = std::array<double, kCodes>;

// Four sums a code take turns: equal neighbours would wait for each other.
void add_members(const std::uint8_t* codes, const float* x, std::size_t n, Sums& out) {
  std::array<Sums, 4> sums{};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t turn = 0; turn < 4; ++turn) {
      sums[turn][codes[i + turn]] += static_cast<double>(x[i + turn]);
    }
  }
  for (; i < n; ++i) sums[0][codes[i]] += static_cast<double>(x[i]);
  for (std::size_t c = 0; c < kCodes; ++c) {
    out[c] = (sums[0][c] + sums[1][c]) + (sums[2][c] + sums[3][c]);
  }
}

}  // namespace

void decode_codes(const char* operation, const CodedValues& coded, const float* table, float* out) {
  decode(operation, coded, table, out);
}

void decode_codes(const char* operation, const CodedValues& coded, const double* table,
                  double* out) {
  decode(operation, coded, table, out);
}

void sum_members(const char* operation, const CodedValues& coded, const float* x, double* out) {
  std::fill(out, out + coded.tables() * coded.k, 0.0);
  if (coded.n == 0) return;
  // Pieces never cross from one table to the next.
  const std::size_t step = coded.step, length = std::min(step, kPiece);
  const std::size_t each = (step + length - 1) / length;
  const std::size_t pieces = coded.tables() * each;
  std::vector<Sums> sums(pieces);
  parallel_tasks(pieces, 0, [&](std::size_t p, int) {
    const std::size_t start = p / each * step;
    const std::size_t first = std::min(coded.n, start + p % each * length);
    const std::size_t end = std::min({coded.n, start + step, first + length});
    check_codes(operation, coded, first, end);
    add_members(coded.codes + first, x + first, end - first, sums[p]);
  });
  for (std::size_t p = 0; p < pieces; ++p) {
    for (std::size_t c = 0; c < coded.k; ++c) out[p / each * coded.k + c] += sums[p][c];
  }
}

}  // namespace tersor::codebook
