#include "reconstruction_pruning.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "arrays.h"
#include "tersor/reconstruction/pruning.h"

namespace tersor::bindings {
namespace {

namespace rc = tersor::reconstruction;

std::size_t size(py::ssize_t n) { return static_cast<std::size_t>(n); }

void check_matrix(const char* op, const Array<double>& w, const Array<double>& h) {
  TERSOR_CHECK(w.ndim() == 2, op, ": w must have 2 dimensions, got shape ",
               shape_text(shape_of(w)));
  TERSOR_CHECK(h.ndim() == 2 && h.shape(0) == w.shape(1) && h.shape(1) == w.shape(1), op,
               ": hessian must have shape (", w.shape(1), ", ", w.shape(1), "), got ",
               shape_text(shape_of(h)));
}

// (mask, values, error, error of the mask alone, codes or None, scale or None)
py::tuple prune_matrix(const Array<double>& w, const Array<double>& h,
                       const rc::PruningOptions& options,
                       const std::optional<rc::RoundingOptions>& rounding,
                       const std::optional<Array<bool>>& mask) {
  check_matrix("prune_matrix", w, h);
  TERSOR_CHECK(!mask || shape_of(*mask) == shape_of(w), "prune_matrix: mask must have shape ",
               shape_text(shape_of(w)), ", got ", mask ? shape_text(shape_of(*mask)) : "");
  const auto* given = mask ? reinterpret_cast<const uint8_t*>(mask->data()) : nullptr;
  const rc::PrunedMatrix done = without_gil([&] {
    return rc::prune_matrix(w.data(), size(w.shape(0)), size(w.shape(1)), h.data(), options,
                            rounding ? &*rounding : nullptr, given);
  });
  Array<bool> kept = empty_array<bool>({w.shape(0), w.shape(1)});
  std::transform(done.mask.begin(), done.mask.end(), kept.mutable_data(),
                 [](uint8_t k) { return k != 0; });
  Array<float> values = empty_array<float>({w.shape(0), w.shape(1)});
  std::copy(done.values.begin(), done.values.end(), values.mutable_data());
  py::object codes = py::none(), scale = py::none();
  if (rounding) {
    Array<int8_t> c = empty_array<int8_t>({w.shape(0), w.shape(1)});
    std::copy(done.codes.begin(), done.codes.end(), c.mutable_data());
    const auto groups = static_cast<py::ssize_t>(done.groups);
    Array<float> s =
        rounding->one_scale ? empty_array<float>({1, 1}) : empty_array<float>({w.shape(0), groups});
    std::copy(done.scale.begin(), done.scale.end(), s.mutable_data());
    codes = c;
    scale = s;
  }
  return py::make_tuple(kept, values, done.error, done.masked_error, codes, scale);
}

Array<double> removal_curve(const Array<double>& w, const Array<double>& h,
                            const rc::PruningOptions& options) {
  check_matrix("removal_curve", w, h);
  const std::vector<double> errors = without_gil([&] {
    return rc::removal_curve(w.data(), size(w.shape(0)), size(w.shape(1)), h.data(), options);
  });
  Array<double> out = empty_array<double>({static_cast<py::ssize_t>(errors.size())});
  std::copy(errors.begin(), errors.end(), out.mutable_data());
  return out;
}

}  // namespace

void bind_pruning_by_moments(py::module_& m) {
  py::class_<rc::PruningOptions>(m, "PruningOptions", "What prune_matrix removes.")
      .def(py::init([](double sparsity, bool per_row, std::size_t n, std::size_t group,
                       std::size_t block_rows, std::size_t block_columns, double damping, int swaps,
                       int threads) {
             return rc::PruningOptions{sparsity,      per_row, n,     group,  block_rows,
                                       block_columns, damping, swaps, threads};
           }),
           py::arg("sparsity"), py::arg("per_row"), py::arg("n"), py::arg("m"),
           py::arg("block_rows"), py::arg("block_columns"), py::arg("damping"), py::arg("swaps"),
           py::arg("threads"));
  py::class_<rc::RoundingOptions>(m, "RoundingOptions", "How kept weights are rounded.")
      .def(py::init([](int bits, bool narrow, std::size_t group_size, bool one_scale,
                       bool half_scales, int threads, std::vector<double> least_scale) {
             rc::RoundingOptions o;
             o.bits = bits;
             o.narrow = narrow;
             o.group_size = group_size;
             o.one_scale = one_scale;
             o.half_scales = half_scales;
             o.threads = threads;
             o.least_scale = std::move(least_scale);
             return o;
           }),
           py::arg("bits"), py::arg("narrow"), py::arg("group_size"), py::arg("one_scale"),
           py::arg("half_scales"), py::arg("threads"), py::arg("least_scale"));
  m.def("prune_matrix", prune_matrix, py::arg("w").noconvert(), py::arg("hessian").noconvert(),
        py::arg("options"), py::arg("rounding"), py::arg("mask").noconvert(),
        "(mask, values, error, error of the mask alone, codes or None, scale or None)");
  m.def("removal_curve", removal_curve, py::arg("w").noconvert(), py::arg("hessian").noconvert(),
        py::arg("options"), "Errors after 0, 1, 2 ... removals.");
}

}  // namespace tersor::bindings
