// reconstruction/rate_rounding.h as Python functions.
#include "reconstruction_rate.h"

#include <pybind11/stl.h>

#include <optional>

#include "arrays.h"
#include "tersor/reconstruction/rate_rounding.h"

namespace tersor::bindings {
namespace {

namespace rc = reconstruction;
using Mask = std::optional<Array<bool>>;

std::size_t count(py::ssize_t n) { return static_cast<std::size_t>(n); }

py::tuple round_by_rate(const Array<double>& w, const Array<double>& h, const Array<double>& levels,
                        std::vector<double> scale, const Mask& mask, const rc::RateOptions& o) {
  TERSOR_CHECK(w.ndim() == 2, "round_by_rate: w must have 2 dimensions, got shape ",
               shape_text(shape_of(w)));
  TERSOR_CHECK(h.ndim() == 3 && h.shape(1) == w.shape(1) && h.shape(2) == w.shape(1),
               "round_by_rate: hessian must have shape (", w.shape(1), ", ", w.shape(1),
               "), or several of them, got ", shape_text(shape_of(h)));
  TERSOR_CHECK(levels.ndim() == 2 && levels.size() > 0,
               "round_by_rate: levels must have shape (k,) or (tables, k), got ",
               shape_text(shape_of(levels)));
  TERSOR_CHECK(!mask || shape_of(*mask) == shape_of(w),
               "round_by_rate: mask must have the shape of w, got ",
               mask ? shape_text(shape_of(*mask)) : "");
  rc::Levels given;
  given.level.assign(levels.data(), levels.data() + levels.size());
  given.tables = count(levels.shape(0));
  given.scale = std::move(scale);
  const auto* kept = mask ? reinterpret_cast<const uint8_t*>(mask->data()) : nullptr;
  const rc::RatedMatrix done = without_gil([&] {
    return rc::round_by_rate(w.data(), count(w.shape(0)), count(w.shape(1)), h.data(),
                             count(h.shape(0)), given, o, kept);
  });
  Array<uint8_t> codes = empty_array<uint8_t>({w.shape(0), w.shape(1)});
  std::copy(done.codes.begin(), done.codes.end(), codes.mutable_data());
  Array<double> fitted = empty_array<double>({levels.shape(0), levels.shape(1)});
  std::copy(done.levels.level.begin(), done.levels.level.end(), fitted.mutable_data());
  return py::make_tuple(codes, fitted, done.error, done.bits);
}

}  // namespace

void bind_rate_rounding(py::module_& m) {
  m.def(
      "round_by_rate",
      [](const Array<double>& w, const Array<double>& h, const Array<double>& levels,
         std::vector<double> scale, const Mask& mask, double price, bool one_step, bool reorder,
         double damping, int passes, int sweeps, int refits, int threads) {
        return round_by_rate(w, h, levels, std::move(scale), mask,
                             {price, reorder, damping, passes, sweeps, refits, one_step, threads});
      },
      py::arg("w").noconvert(), py::arg("hessian").noconvert(), py::arg("levels").noconvert(),
      py::arg("scale"), py::arg("mask").noconvert(), py::arg("price"), py::arg("one_step"),
      py::arg("reorder"), py::arg("damping"), py::arg("passes"), py::arg("sweeps"),
      py::arg("refits"), py::arg("threads"));
  m.def(
      "code_bits",
      [](const Array<uint8_t>& codes, std::size_t k) {
        TERSOR_CHECK(codes.ndim() == 2, "code_bits: codes must have 2 dimensions, got shape ",
                     shape_text(shape_of(codes)));
        return rc::code_bits(codes.data(), count(codes.shape(0)), count(codes.shape(1)), k);
      },
      py::arg("codes").noconvert(), py::arg("k"));
}

}  // namespace tersor::bindings
