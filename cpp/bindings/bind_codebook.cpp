#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/codebook/kmeans.h"
#include "tersor/codebook/lookup_dense.h"
#include "tersor/codebook/members.h"
#include "tersor/codebook/product.h"

namespace py = pybind11;
namespace codebook = tersor::codebook;
using tersor::bindings::Array;
using tersor::bindings::check_apart;
using tersor::bindings::empty_array;
using tersor::bindings::output_array;
using tersor::bindings::Shape;
using tersor::bindings::shape_of;
using tersor::bindings::shape_text;
using tersor::bindings::without_gil;

namespace {

std::size_t size(py::ssize_t n) { return static_cast<std::size_t>(n); }
py::ssize_t ssize(std::size_t n) { return static_cast<py::ssize_t>(n); }

codebook::KeepZero keep_zero_of(const py::object& keep) {
  if (keep.is_none()) return codebook::KeepZero::pruned;
  return py::cast<bool>(keep) ? codebook::KeepZero::always : codebook::KeepZero::never;
}

// Tables of `step` values each. (centroids [tables][k], entries used [tables], errors [tables],
// codes); the unused entries of a table repeat its last.
template <class T>
py::tuple kmeans(const Array<T>& w, std::size_t step, const py::object& weights,
                 const codebook::KMeansOptions& options) {
  const std::size_t n = size(w.size());
  TERSOR_CHECK(n > 0, "kmeans: w must have between 1 and 2^31 - 1 values, got 0");
  const Array<float> weight_array =
      weights.is_none() ? Array<float>() : py::cast<Array<float>>(weights);
  const float* weight = weights.is_none() ? nullptr : weight_array.data();
  const std::size_t tables = (n + step - 1) / step;
  std::vector<codebook::Clustering> found(tables);
  Array<std::uint8_t> codes = empty_array<std::uint8_t>(shape_of(w));
  const T* values = w.data();
  std::uint8_t* code = codes.mutable_data();
  without_gil([&] {
    const auto table = [&](std::size_t t) {
      const std::size_t first = t * step;
      found[t] = codebook::kmeans(values + first, weight ? weight + first : nullptr,
                                  std::min(step, n - first), options, code + first);
    };
    if (tables == 1) return table(0);
    tersor::parallel_tasks(tables, 0, [&](std::size_t t, int) { table(t); });
  });
  std::size_t k = 0;
  for (const auto& c : found) k = std::max(k, c.centroids.size());
  Array<T> centroids = empty_array<T>({ssize(tables), ssize(k)});
  Array<std::int64_t> used = empty_array<std::int64_t>({ssize(tables)});
  Array<double> inertia = empty_array<double>({ssize(tables)});
  for (std::size_t t = 0; t < tables; ++t) {
    const auto& own = found[t].centroids;
    for (std::size_t c = 0; c < k; ++c) {
      centroids.mutable_data()[t * k + c] = static_cast<T>(own[std::min(c, own.size() - 1)]);
    }
    used.mutable_data()[t] = static_cast<std::int64_t>(own.size());
    inertia.mutable_data()[t] = found[t].inertia;
  }
  return py::make_tuple(centroids, used, inertia, codes);
}

template <class T>
void bind_kmeans(py::module_& m, const char* name) {
  m.def(
      name,
      [](const Array<T>& w, std::size_t step, int k, const std::string& algorithm,
         const std::string& init, const py::object& weights, const py::object& keep_zero,
         std::uint64_t seed, int max_iterations, std::size_t max_points) {
        codebook::KMeansOptions options;
        options.k = k;
        options.algorithm = codebook::algorithm_from_name(algorithm);
        options.init = codebook::init_from_name(init);
        options.keep_zero = keep_zero_of(keep_zero);
        options.seed = seed;
        options.max_iterations = max_iterations;
        options.max_points = max_points;
        return kmeans<T>(w, step, weights, options);
      },
      py::arg("w").noconvert(), py::arg("step"), py::arg("k"), py::arg("algorithm"),
      py::arg("init"), py::arg("weights"), py::arg("keep_zero"), py::arg("seed"),
      py::arg("max_iterations"), py::arg("max_points"));
}

codebook::CodedValues coded_values(const Array<std::uint8_t>& codes, std::size_t step,
                                   std::size_t k) {
  return {codes.data(), size(codes.size()), std::max<std::size_t>(1, step), k};
}

template <class T>
void bind_decode(py::module_& m, const char* name) {
  m.def(
      name,
      [](const std::string& operation, const Array<std::uint8_t>& codes, const Array<T>& table,
         std::size_t step) {
        Array<T> out = empty_array<T>(shape_of(codes));
        const auto coded = coded_values(codes, step, size(table.shape(table.ndim() - 1)));
        without_gil([&] {
          codebook::decode_codes(operation.c_str(), coded, table.data(), out.mutable_data());
        });
        return out;
      },
      py::arg("operation"), py::arg("codes").noconvert(), py::arg("table").noconvert(),
      py::arg("step"));
}

Array<double> sum_members(const std::string& operation, const Array<std::uint8_t>& codes,
                          const Array<float>& x, std::size_t step, std::size_t k) {
  TERSOR_CHECK(x.size() == codes.size(), operation, ": dw must have ", codes.size(),
               " values, got ", x.size());
  const auto coded = coded_values(codes, step, k);
  Array<double> out = empty_array<double>({ssize(coded.tables()), ssize(k)});
  without_gil(
      [&] { codebook::sum_members(operation.c_str(), coded, x.data(), out.mutable_data()); });
  return out;
}

// (centroids [k][dim], error, codes [vectors]) of vectors [vectors][dim].
py::tuple product_kmeans(const Array<float>& vectors, int k, const py::object& keep_zero,
                         std::uint64_t seed, int max_iterations) {
  codebook::ProductOptions options;
  options.k = k;
  options.dim = static_cast<int>(vectors.shape(1));
  options.keep_zero = keep_zero_of(keep_zero);
  options.seed = seed;
  options.max_iterations = max_iterations;
  Array<std::uint8_t> codes = empty_array<std::uint8_t>({vectors.shape(0)});
  codebook::ProductClustering found;
  without_gil([&] {
    found = codebook::product_kmeans(vectors.data(), size(vectors.shape(0)), options,
                                     codes.mutable_data());
  });
  Array<float> centroids =
      empty_array<float>({ssize(found.centroids.size()) / vectors.shape(1), vectors.shape(1)});
  std::copy(found.centroids.begin(), found.centroids.end(), centroids.mutable_data());
  return py::make_tuple(centroids, found.inertia, codes);
}

using codebook::LookupDense;

std::unique_ptr<LookupDense> make_lookup_dense(const Array<std::uint8_t>& codes,
                                               const Array<float>& tables, std::int64_t group,
                                               const std::optional<Array<float>>& bias, float low,
                                               float high) {
  TERSOR_CHECK(codes.ndim() == 2, "lookup_dense: indices must have 2 dimensions, got ",
               codes.ndim());
  codebook::LookupWeights w;
  w.outputs = codes.shape(0);
  w.inputs = codes.shape(1);
  w.codes = codes.data();
  w.group = group;
  const py::ssize_t count = group > 0 ? (w.outputs + group - 1) / group : 1;
  TERSOR_CHECK(tables.ndim() == 2 && tables.shape(0) == count,
               "lookup_dense: centroids must have shape (", count, ", k), got ",
               shape_text(shape_of(tables)));
  TERSOR_CHECK(!bias || bias->size() == w.outputs, "lookup_dense: bias must have ", w.outputs,
               " elements, got ", bias ? bias->size() : 0);
  w.k = tables.shape(1);
  w.tables = tables.data();
  w.bias = bias ? bias->data() : nullptr;
  w.low = low;
  w.high = high;
  return std::make_unique<LookupDense>(w);
}

py::array run_lookup_dense(const LookupDense& dense, const Array<float>& x, const py::object& out) {
  TERSOR_CHECK(x.ndim() == 2 && x.shape(1) == dense.inputs(),
               "lookup_dense: x must have shape (rows, ", dense.inputs(), "), got ",
               shape_text(shape_of(x)));
  py::array y =
      output_array("lookup_dense", out, py::dtype::of<float>(), {x.shape(0), dense.outputs()});
  check_apart("lookup_dense", "x", x, y);
  auto* to = static_cast<float*>(y.mutable_data());
  // Kept: fresh pages would cost a tenth of a call.
  thread_local tersor::Buffer scratch;
  if (scratch.size() < dense.scratch_bytes()) scratch = tersor::Buffer(dense.scratch_bytes());
  without_gil([&] { dense.run(x.data(), x.shape(0), to, scratch.data(), tersor::threads()); });
  return y;
}

}  // namespace

void bind_codebook(py::module_& m) {
  bind_kmeans<float>(m, "kmeans");
  bind_kmeans<double>(m, "kmeans_float64");
  bind_decode<float>(m, "decode");
  bind_decode<double>(m, "decode_float64");
  m.def("sum_members", sum_members, py::arg("operation"), py::arg("codes").noconvert(),
        py::arg("x").noconvert(), py::arg("step"), py::arg("k"));
  m.def("product_kmeans", product_kmeans, py::arg("vectors").noconvert(), py::arg("k"),
        py::arg("keep_zero"), py::arg("seed"), py::arg("max_iterations"));
  py::class_<LookupDense>(m, "LookupDense")
      .def(py::init(&make_lookup_dense), py::arg("codes").noconvert(),
           py::arg("tables").noconvert(), py::arg("group"), py::arg("bias").noconvert(),
           py::arg("low"), py::arg("high"))
      .def("run", &run_lookup_dense, py::arg("x").noconvert(), py::arg("out"))
      .def_property_readonly("kernel", [](const LookupDense& d) { return d.kernel(); })
      .def_property_readonly("packed_bytes", [](const LookupDense& d) { return d.packed_bytes(); });
}
