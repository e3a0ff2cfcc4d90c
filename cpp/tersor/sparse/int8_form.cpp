#include "tersor/sparse/int8_form.h"

#include <array>
#include <bit>
#include <cstdlib>

#include "tersor/sparse/kernels.h"

namespace tersor::sparse {

bool Int8Kernels::has_quads() {
  return spmm_quads_table.row(spmm_quads_table.active_row()).needed != Feature::none;
}

SparseRows Int8Kernels::weights(const SparseRows& w) const {
  if (quads) return w;
  SparseRows out{w.rows, w.columns, {0}, {}, {}};
  out.start.reserve(w.start.size());
  out.column.reserve(w.column.size());
  out.value.reserve(w.value.size());
  for (size_t r = 0; r < static_cast<size_t>(w.rows); ++r) {
    for (auto e = static_cast<size_t>(w.start[r]); e < static_cast<size_t>(w.start[r + 1]); ++e) {
      auto whole = std::bit_cast<std::array<int8_t, 4>>(w.value[e]);
      std::array<int8_t, 4> rest{};
      for (size_t i = 0; i < 4; i += 2) {
        if (std::abs(whole[i]) + std::abs(whole[i + 1]) <= 128) continue;
        for (const size_t k : {i, i + 1}) {
          rest[k] = static_cast<int8_t>(whole[k] / 2);
          whole[k] = static_cast<int8_t>(whole[k] - rest[k]);
        }
      }
      for (const auto& four : {whole, rest}) {
        if (four == std::array<int8_t, 4>{}) continue;
        out.column.push_back(w.column[e]);
        out.value.push_back(std::bit_cast<float>(four));
      }
    }
    out.start.push_back(out.entries());
  }
  return out;
}

spmm_pairs_sig* Int8Kernels::kernel() const {
  return quads ? spmm_quads_table.pick() : spmm_pairs_table.pick();
}

std::string Int8Kernels::name() const {
  const auto of = [](const auto& table) {
    return std::string(table.op()) + " " + table.row(table.active_row()).variant;
  };
  return quads ? of(spmm_quads_table) : of(spmm_pairs_table);
}

}  // namespace tersor::sparse
