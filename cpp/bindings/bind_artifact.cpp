#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "arrays.h"
#include "tensors.h"
#include "tersor/artifact/artifact.h"
#include "tersor/coding/symbols.h"

namespace py = pybind11;
namespace ta = tersor::artifact;
using tersor::bindings::without_gil;

namespace {

std::vector<uint8_t> bytes_of(const py::bytes& b) {
  const std::string_view view(b);
  return {view.begin(), view.end()};
}

py::bytes python_bytes(const std::vector<uint8_t>& v) {
  return {reinterpret_cast<const char*>(v.data()), v.size()};
}

ta::Profile profile_of(const std::optional<std::string>& name) {
  if (!name) return {};
  return tersor::coding::profile_named(*name);
}

py::tuple unpacked(ta::Artifact a) {
  py::bytes metadata = python_bytes(a.metadata), provenance = python_bytes(a.provenance);
  return py::make_tuple(std::make_shared<tersor::graph::Graph>(std::move(a.graph)), metadata,
                        provenance);
}

}  // namespace

void bind_artifact(py::module_& m) {
  m.attr("VERSION") = py::make_tuple(ta::kVersionMajor, ta::kVersionMinor);
  m.def(
      "encode",
      [](const tersor::graph::Graph& graph, const py::bytes& metadata, const py::bytes& provenance,
         const std::optional<std::string>& profile) {
        const ta::Artifact artifact{graph, bytes_of(metadata), bytes_of(provenance)};
        const ta::Profile p = profile_of(profile);
        return python_bytes(without_gil([&] { return ta::encode(artifact, p); }));
      },
      py::arg("graph"), py::arg("metadata") = py::bytes(), py::arg("provenance") = py::bytes(),
      py::arg("profile") = py::none());
  m.def(
      "decode",
      [](const py::bytes& data, bool verify) {
        const std::string_view view(data);
        return unpacked(without_gil([&] {
          return ta::decode(reinterpret_cast<const uint8_t*>(view.data()), view.size(), verify);
        }));
      },
      py::arg("data"), py::arg("verify") = true, "(graph, metadata, provenance)");
  m.def(
      "write",
      [](const std::string& path, const tersor::graph::Graph& graph, const py::bytes& metadata,
         const py::bytes& provenance, const std::optional<std::string>& profile) {
        const ta::Artifact artifact{graph, bytes_of(metadata), bytes_of(provenance)};
        const ta::Profile p = profile_of(profile);
        without_gil([&] { ta::write_file(path, artifact, p); });
      },
      py::arg("path"), py::arg("graph"), py::arg("metadata") = py::bytes(),
      py::arg("provenance") = py::bytes(), py::arg("profile") = py::none());
  m.def(
      "read",
      [](const std::string& path, bool verify) {
        return unpacked(without_gil([&] { return ta::read_file(path, verify); }));
      },
      py::arg("path"), py::arg("verify") = true, "(graph, metadata, provenance)");
  m.def(
      "read_tensors",
      [](const std::string& path, const std::vector<std::string>& names, bool verify) {
        const auto tensors = without_gil([&] { return ta::read_tensors(path, names, verify); });
        py::list out;
        for (const ta::StoredTensor& t : tensors)
          out.append(py::make_tuple(tersor::bindings::array_from_tensor(t.values), t.qparams));
        return out;
      },
      py::arg("path"), py::arg("names"), py::arg("verify") = true,
      "(values, qparams or None) of each name");
  m.def(
      "inspect",
      [](const py::bytes& data) {
        const std::string_view view(data);
        const ta::ArtifactInfo info = without_gil([&] {
          return ta::inspect(reinterpret_cast<const uint8_t*>(view.data()), view.size());
        });
        py::list sections, streams;
        for (const ta::SectionInfo& s : info.sections) {
          sections.append(py::dict(py::arg("name") = s.name, py::arg("offset") = s.offset,
                                   py::arg("length") = s.length));
        }
        for (const ta::StreamInfo& s : info.streams) {
          streams.append(py::dict(py::arg("edge") = s.edge, py::arg("part") = s.part,
                                  py::arg("coding") = s.coding, py::arg("offset") = s.offset,
                                  py::arg("length") = s.length, py::arg("values") = s.values,
                                  py::arg("indices") = s.indices,
                                  py::arg("metadata") = s.metadata));
        }
        return py::dict(py::arg("version") = py::make_tuple(info.version_major, info.version_minor),
                        py::arg("file_bytes") = info.file_bytes, py::arg("sections") = sections,
                        py::arg("streams") = streams);
      },
      py::arg("data"), "Sections and streams with their place in the file.");
  m.def(
      "stored_bytes",
      [](const py::array& value, int bits, const std::optional<std::string>& profile) {
        return ta::stored_bytes(tersor::bindings::tensor_from_array(value), bits,
                                profile_of(profile));
      },
      py::arg("value"), py::arg("bits"), py::arg("profile") = py::none(),
      "Bytes of a constant's values in a file.");
}
