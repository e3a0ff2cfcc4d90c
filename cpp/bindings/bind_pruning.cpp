#include <pybind11/stl.h>

#include <cstdint>
#include <vector>

#include "arrays.h"
#include "tersor/pruning/blocks.h"
#include "tersor/pruning/nm.h"
#include "tersor/pruning/scores.h"
#include "tersor/pruning/select.h"

namespace py = pybind11;
namespace pruning = tersor::pruning;
using tersor::bindings::Array;
using tersor::bindings::empty_array;
using tersor::bindings::Shape;
using tersor::bindings::shape_of;
using tersor::bindings::shape_text;
using tersor::bindings::without_gil;

namespace {

std::size_t size(py::ssize_t n) { return static_cast<std::size_t>(n); }

std::uint8_t* bytes(Array<bool>& mask) {
  return reinterpret_cast<std::uint8_t*>(mask.mutable_data());
}

std::vector<Array<bool>> keep_highest(const std::string& operation,
                                      const std::vector<Array<float>>& scores, std::size_t kept,
                                      bool absolute) {
  std::vector<Array<bool>> masks;
  std::vector<pruning::ScoredTensor> tensors;
  std::size_t n = 0;
  for (const Array<float>& s : scores) {
    masks.push_back(empty_array<bool>(shape_of(s)));
    tensors.push_back({s.data(), size(s.size()), bytes(masks.back())});
    n += size(s.size());
  }
  TERSOR_CHECK(kept <= n, operation, ": kept must be at most ", n, ", got ", kept);
  without_gil([&] { pruning::keep_highest(operation.c_str(), tensors, kept, absolute); });
  return masks;
}

Array<bool> keep_highest_of_rows(const std::string& operation, const Array<float>& scores,
                                 std::size_t kept, bool absolute) {
  TERSOR_CHECK(scores.ndim() == 2, operation, ": scores must have 2 dimensions, got shape ",
               shape_text(shape_of(scores)));
  Array<bool> mask = empty_array<bool>(shape_of(scores));
  without_gil([&] {
    pruning::keep_highest_of_rows(operation.c_str(), scores.data(), size(scores.shape(0)),
                                  size(scores.shape(1)), kept, absolute, bytes(mask));
  });
  return mask;
}

Array<bool> nm_mask(const std::string& operation, const Array<float>& scores, std::int64_t n,
                    std::int64_t m, bool absolute) {
  TERSOR_CHECK(scores.ndim() == 3, operation, ": scores must have 3 dimensions, got shape ",
               shape_text(shape_of(scores)));
  Array<bool> mask = empty_array<bool>(shape_of(scores));
  without_gil([&] {
    pruning::nm_mask(operation.c_str(), scores.data(), size(scores.shape(0)), size(scores.shape(1)),
                     size(scores.shape(2)), n, m, absolute, bytes(mask));
  });
  return mask;
}

pruning::BlockShape block_shape(std::size_t rows, std::size_t columns, std::size_t block_rows,
                                std::size_t block_columns) {
  TERSOR_CHECK(block_rows >= 1 && block_columns >= 1,
               "block_scores: block must be at least 1 x 1, "
               "got ",
               block_rows, " x ", block_columns);
  return {rows, columns, block_rows, block_columns};
}

Array<float> block_scores(const Array<float>& x, std::size_t block_rows, std::size_t block_columns,
                          const std::string& kind) {
  TERSOR_CHECK(x.ndim() == 2, "block_scores: x must have 2 dimensions, got shape ",
               shape_text(shape_of(x)));
  TERSOR_CHECK(kind == "sum" || kind == "l1" || kind == "l2",
               "block_scores: kind must be sum, l1 or l2, got ", kind);
  const auto shape = block_shape(size(x.shape(0)), size(x.shape(1)), block_rows, block_columns);
  const auto score = kind == "sum"  ? pruning::BlockScore::sum
                     : kind == "l1" ? pruning::BlockScore::l1
                                    : pruning::BlockScore::l2;
  Array<float> out = empty_array<float>(
      {static_cast<py::ssize_t>(shape.down()), static_cast<py::ssize_t>(shape.across())});
  without_gil([&] { pruning::block_scores(x.data(), shape, score, out.mutable_data()); });
  return out;
}

Array<bool> expand_blocks(Array<bool> blocks, std::size_t rows, std::size_t columns,
                          std::size_t block_rows, std::size_t block_columns) {
  const auto shape = block_shape(rows, columns, block_rows, block_columns);
  TERSOR_CHECK(blocks.ndim() == 2 && size(blocks.shape(0)) == shape.down() &&
                   size(blocks.shape(1)) == shape.across(),
               "expand_blocks: blocks must have shape (", shape.down(), ", ", shape.across(),
               "), got ", shape_text(shape_of(blocks)));
  Array<bool> mask =
      empty_array<bool>({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
  const auto* data = reinterpret_cast<const std::uint8_t*>(blocks.data());
  without_gil([&] { pruning::expand_blocks(data, shape, bytes(mask)); });
  return mask;
}

}  // namespace

void bind_pruning(py::module_& m) {
  m.def(
      "kept_count",
      [](const std::string& operation, std::size_t n, double sparsity) {
        return pruning::kept_count(operation.c_str(), n, sparsity);
      },
      py::arg("operation"), py::arg("n"), py::arg("sparsity"));
  m.def("keep_highest", keep_highest, py::arg("operation"), py::arg("scores").noconvert(),
        py::arg("kept"), py::arg("absolute"));
  m.def("keep_highest_of_rows", keep_highest_of_rows, py::arg("operation"),
        py::arg("scores").noconvert(), py::arg("kept"), py::arg("absolute"));
  m.def("nm_mask", nm_mask, py::arg("operation"), py::arg("scores").noconvert(), py::arg("n"),
        py::arg("m"), py::arg("absolute"));
  m.def("block_scores", block_scores, py::arg("x").noconvert(), py::arg("block_rows"),
        py::arg("block_columns"), py::arg("kind"));
  m.def("expand_blocks", expand_blocks, py::arg("blocks").noconvert(), py::arg("rows"),
        py::arg("columns"), py::arg("block_rows"), py::arg("block_columns"));
  m.def(
      "lamp_scores",
      [](const Array<float>& w) {
        Array<float> out = empty_array<float>(shape_of(w));
        without_gil([&] { pruning::lamp_scores(w.data(), size(w.size()), out.mutable_data()); });
        return out;
      },
      py::arg("w").noconvert());
  m.def(
      "random_scores",
      [](const Shape& shape, std::uint64_t seed) {
        Array<float> out = empty_array<float>(shape);
        without_gil([&] { pruning::random_scores(seed, size(out.size()), out.mutable_data()); });
        return out;
      },
      py::arg("shape"), py::arg("seed"));
}
