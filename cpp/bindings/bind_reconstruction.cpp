#include <pybind11/stl.h>

#include <optional>

#include "arrays.h"
#include "reconstruction_pruning.h"
#include "reconstruction_rate.h"
#include "tersor/reconstruction/moments.h"
#include "tersor/reconstruction/normal_equations.h"
#include "tersor/reconstruction/rounding.h"

namespace py = pybind11;
namespace rc = tersor::reconstruction;
using tersor::bindings::Array;
using tersor::bindings::empty_array;
using tersor::bindings::shape_of;
using tersor::bindings::shape_text;
using tersor::bindings::without_gil;

namespace {

using Targets = std::optional<Array<float>>;

const float* data_of(const Targets& targets) { return targets ? targets->data() : nullptr; }

std::size_t size(py::ssize_t n) { return static_cast<std::size_t>(n); }

Array<double> copied(const std::vector<double>& values, const tersor::bindings::Shape& shape) {
  Array<double> out = empty_array<double>(shape);
  std::copy(values.begin(), values.end(), out.mutable_data());
  return out;
}

void add_rows(rc::Moments& m, const Array<float>& x, const Targets& t) {
  const std::size_t width = m.groups() * m.columns(), targets = m.groups() * m.outputs();
  TERSOR_CHECK(x.ndim() == 2 && size(x.shape(1)) == width, "moments: x must have shape (rows, ",
               width, "), got ", shape_text(shape_of(x)));
  TERSOR_CHECK(!t || (t->ndim() == 2 && t->shape(0) == x.shape(0) && size(t->shape(1)) == targets),
               "moments: targets must have shape (", x.shape(0), ", ", targets, "), got ",
               t ? shape_text(shape_of(*t)) : "");
  without_gil([&] { m.add_rows(x.data(), data_of(t), size(x.shape(0))); });
}

using Lengths = std::vector<int64_t>;

// Axes of an image [n][channels][spatial...]; the lists have one entry per spatial axis.
rc::PatchGeometry geometry(const Array<float>& x, const Lengths& output, const Lengths& kernel,
                           const Lengths& strides, const Lengths& dilations, const Lengths& pads,
                           bool transposed) {
  TERSOR_CHECK(x.ndim() >= 3 && x.ndim() <= 5,
               "moments: x must have shape (images, channels, 1 to 3 axes), got ",
               shape_text(shape_of(x)));
  const std::size_t rank = size(x.ndim()) - 2;
  TERSOR_CHECK(output.size() == rank && kernel.size() == rank && strides.size() == rank &&
                   dilations.size() == rank && pads.size() == rank,
               "moments: output, kernel, strides, dilations and pads must have ", rank,
               " entries each");
  rc::PatchGeometry g;
  g.channels = x.shape(1);
  g.transposed = transposed;
  for (std::size_t d = 0; d < rank; ++d) {
    g.axes[3 - rank + d] = {x.shape(static_cast<py::ssize_t>(d) + 2),
                            output[d],
                            kernel[d],
                            strides[d],
                            dilations[d],
                            pads[d]};
  }
  g.check("moments");
  return g;
}

void add_patches(rc::Moments& m, const Array<float>& x, const Targets& t, const Lengths& output,
                 const Lengths& kernel, const Lengths& strides, const Lengths& dilations,
                 const Lengths& pads, bool transposed) {
  const auto g = geometry(x, output, kernel, strides, dilations, pads, transposed);
  const std::size_t wanted = size(x.shape(0)) * m.groups() * m.outputs() * g.positions();
  TERSOR_CHECK(!t || size(t->size()) == wanted, "moments: targets must have ", wanted,
               " values, got ", t ? t->size() : 0);
  without_gil([&] { m.add_patches(x.data(), data_of(t), size(x.shape(0)), g); });
}

Array<float> gather(const Array<float>& x, const Lengths& output, const Lengths& kernel,
                    const Lengths& strides, const Lengths& dilations, const Lengths& pads,
                    bool transposed) {
  const auto g = geometry(x, output, kernel, strides, dilations, pads, transposed);
  const std::size_t images = size(x.shape(0)), positions = g.positions(), width = g.row_size();
  Array<float> out = empty_array<float>(
      {static_cast<py::ssize_t>(images * positions), static_cast<py::ssize_t>(width)});
  for (std::size_t i = 0; i < images; ++i) {
    rc::gather_patches(x.data() + i * g.input_size(), g, 0, positions,
                       out.mutable_data() + i * positions * width, width);
  }
  return out;
}

rc::NormalEquations normal_equations(const rc::Moments& m, std::size_t group, const Array<float>& w,
                                     bool centred, double ridge) {
  TERSOR_CHECK(w.ndim() == 2 && size(w.shape(1)) == m.columns(),
               "normal_equations: w must have shape (outputs, ", m.columns(), "), got ",
               shape_text(shape_of(w)));
  return without_gil([&] {
    return rc::normal_equations(m, group, w.data(), size(w.shape(0)), {centred, ridge});
  });
}

py::tuple round_matrix(const Array<double>& w, const Array<double>& h, int bits, bool narrow,
                       std::size_t group_size, bool one_scale, bool half_scales,
                       bool float_zero_point, bool reorder, double damping, int candidates,
                       int sweeps, int threads, std::vector<double> least_scale) {
  TERSOR_CHECK(w.ndim() == 2, "round_matrix: w must have 2 dimensions, got shape ",
               shape_text(shape_of(w)));
  TERSOR_CHECK(h.ndim() == 2 && h.shape(0) == w.shape(1) && h.shape(1) == w.shape(1),
               "round_matrix: hessian must have shape (", w.shape(1), ", ", w.shape(1), "), got ",
               shape_text(shape_of(h)));
  const rc::RoundingOptions options{
      bits,    narrow,  group_size, one_scale, half_scales, float_zero_point,
      reorder, damping, candidates, sweeps,    threads,     std::move(least_scale)};
  const rc::RoundedMatrix done = without_gil([&] {
    return rc::round_matrix(w.data(), size(w.shape(0)), size(w.shape(1)), h.data(), options);
  });
  Array<int8_t> codes = empty_array<int8_t>({w.shape(0), w.shape(1)});
  std::copy(done.codes.begin(), done.codes.end(), codes.mutable_data());
  const auto groups = static_cast<py::ssize_t>(done.groups);
  Array<float> scale =
      one_scale ? empty_array<float>({1, 1}) : empty_array<float>({w.shape(0), groups});
  std::copy(done.scale.begin(), done.scale.end(), scale.mutable_data());
  py::object zero = py::none();
  if (float_zero_point) {
    Array<float> zeros = empty_array<float>({w.shape(0), groups});
    std::copy(done.zero.begin(), done.zero.end(), zeros.mutable_data());
    zero = zeros;
  }
  return py::make_tuple(codes, scale, zero, done.error, done.nearest_error);
}

}  // namespace

void bind_reconstruction(py::module_& m) {
  tersor::bindings::bind_pruning_by_moments(m);
  tersor::bindings::bind_rate_rounding(m);
  py::class_<rc::Moments>(m, "Moments", "Sums of x x^T and t x^T of a linear layer.")
      .def(py::init<std::size_t, std::size_t, std::size_t, int>(), py::arg("groups"),
           py::arg("columns"), py::arg("outputs"), py::arg("threads"))
      .def("add_rows", add_rows, py::arg("x").noconvert(), py::arg("targets").noconvert())
      .def("add_patches", add_patches, py::arg("x").noconvert(), py::arg("targets").noconvert(),
           py::arg("output"), py::arg("kernel"), py::arg("strides"), py::arg("dilations"),
           py::arg("pads"), py::arg("transposed"))
      .def("merge", &rc::Moments::merge, py::arg("other"))
      .def_property_readonly("groups", &rc::Moments::groups)
      .def_property_readonly("columns", &rc::Moments::columns)
      .def_property_readonly("outputs", &rc::Moments::outputs)
      .def_property_readonly("rows", &rc::Moments::rows)
      .def_property_readonly("xx",
                             [](const rc::Moments& s) {
                               const auto g = static_cast<py::ssize_t>(s.groups()),
                                          c = static_cast<py::ssize_t>(s.columns());
                               return copied(s.xx(), {g, c, c});
                             })
      .def_property_readonly("x",
                             [](const rc::Moments& s) {
                               return copied(s.x(), {static_cast<py::ssize_t>(s.groups()),
                                                     static_cast<py::ssize_t>(s.columns())});
                             })
      .def_property_readonly("tx",
                             [](const rc::Moments& s) {
                               return copied(s.tx(), {static_cast<py::ssize_t>(s.groups()),
                                                      static_cast<py::ssize_t>(s.outputs()),
                                                      static_cast<py::ssize_t>(s.columns())});
                             })
      .def_property_readonly("t",
                             [](const rc::Moments& s) {
                               return copied(s.t(), {static_cast<py::ssize_t>(s.groups()),
                                                     static_cast<py::ssize_t>(s.outputs())});
                             })
      .def_property_readonly("tt", [](const rc::Moments& s) {
        return copied(
            s.tt(), {static_cast<py::ssize_t>(s.groups()), static_cast<py::ssize_t>(s.outputs())});
      });
  py::class_<rc::NormalEquations>(m, "NormalEquations", "A layer's least-squares problem.")
      .def_property_readonly("hessian",
                             [](const rc::NormalEquations& p) {
                               const auto c = static_cast<py::ssize_t>(p.columns);
                               return copied(p.hessian, {c, c});
                             })
      .def_property_readonly("target",
                             [](const rc::NormalEquations& p) {
                               return copied(p.target, {static_cast<py::ssize_t>(p.outputs),
                                                        static_cast<py::ssize_t>(p.columns)});
                             })
      .def(
          "best_bias",
          [](const rc::NormalEquations& p, const Array<float>& w) {
            TERSOR_CHECK(
                w.ndim() == 2 && size(w.shape(0)) == p.outputs && size(w.shape(1)) == p.columns,
                "best_bias: w must have shape (", p.outputs, ", ", p.columns, "), got ",
                shape_text(shape_of(w)));
            return copied(rc::best_bias(p, w.data()), {static_cast<py::ssize_t>(p.outputs)});
          },
          py::arg("w").noconvert(), "mean(target) - w mean(x)");
  m.def("normal_equations", normal_equations, py::arg("moments"), py::arg("group"),
        py::arg("w").noconvert(), py::arg("centred"), py::arg("ridge"));
  m.def("gather_patches", gather, py::arg("x").noconvert(), py::arg("output"), py::arg("kernel"),
        py::arg("strides"), py::arg("dilations"), py::arg("pads"), py::arg("transposed"),
        "The rows that add_patches sees, as a matrix.");
  m.def("round_matrix", round_matrix, py::arg("w").noconvert(), py::arg("hessian").noconvert(),
        py::arg("bits"), py::arg("narrow"), py::arg("group_size"), py::arg("one_scale"),
        py::arg("half_scales"), py::arg("float_zero_point"), py::arg("reorder"), py::arg("damping"),
        py::arg("candidates"), py::arg("sweeps"), py::arg("threads"), py::arg("least_scale"),
        "(codes, scale, zero points or None, error, error of rounding to nearest)");
}
