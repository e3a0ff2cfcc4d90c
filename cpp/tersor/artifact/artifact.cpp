#include "tersor/artifact/artifact.h"

#include <new>

#include "tersor/artifact/graph_codec.h"
#include "tersor/artifact/sections.h"
#include "tersor/base/error.h"

namespace tersor::artifact {
namespace {

const char* name_of_coding(Coding coding) {
  constexpr const char* kNames[kCodingCount] = {"raw", "packed", "sparse", "coded"};
  return kNames[static_cast<size_t>(coding)];
}

using Checksums = StreamReader::Checksums;
using Names = std::vector<std::string>;

Artifact decode_frame(const uint8_t* data, size_t size, Checksums checksums, ArtifactInfo* info,
                      const Names* only) {
  const Frame frame = read_sections(data, size);
  const Section& graph_section = frame.sections.at(SectionKind::graph);
  const Section& table_section = frame.sections.at(SectionKind::stream_table);
  const Section& data_section = frame.sections.at(SectionKind::stream_data);
  ByteReader table(table_section.data, table_section.size, "stream table");
  StreamReader streams(table, data_section.data, data_section.size, frame.features, checksums);
  table.expect_end();
  ByteReader graph_reader(graph_section.data, graph_section.size, "graph");
  std::vector<StreamName> names;
  Artifact artifact;
  artifact.graph = read_graph(graph_reader, streams, frame.features, info ? &names : nullptr, only);
  const auto bytes_of = [&](SectionKind kind) {
    const Section& s = frame.sections.at(kind);
    return std::vector<uint8_t>(s.data, s.data + s.size);
  };
  artifact.metadata = bytes_of(SectionKind::metadata);
  artifact.provenance = bytes_of(SectionKind::provenance);
  if (info) {
    info->version_major = frame.version_major;
    info->version_minor = frame.version_minor;
    info->file_bytes = size;
    for (const auto& [kind, section] : frame.sections) {
      info->sections.push_back({name_of(kind), section.offset, section.size});
    }
    for (size_t i = 0; i < streams.size(); ++i) {
      info->streams.push_back({names[i].edge, names[i].part, name_of_coding(streams[i].coding),
                               data_section.offset + streams[i].offset, streams[i].length,
                               streams[i].parts.values, streams[i].parts.indices,
                               streams[i].parts.metadata});
    }
  }
  return artifact;
}

// Whatever goes wrong while reading is the file's fault: one error type for the caller.
Artifact decode_checked(const uint8_t* data, size_t size, Checksums checksums,
                        ArtifactInfo* info = nullptr, const Names* only = nullptr) {
  try {
    return decode_frame(data, size, checksums, info, only);
  } catch (const ArtifactError&) {
    throw;
  } catch (const Error& error) {
    throw ArtifactError(message("artifact: ", error.what()));
  } catch (const std::bad_alloc&) {
    throw ArtifactError("artifact: the file claims more memory than there is");
  }
}

}  // namespace

std::vector<uint8_t> encode(const Artifact& artifact, Profile profile) {
  artifact.graph.verify();
  ByteWriter graph, table;
  StreamWriter streams(profile);
  const uint64_t features = write_graph(artifact.graph, graph, streams);
  streams.write_table(table);
  return write_sections({{SectionKind::graph, std::move(graph.bytes())},
                         {SectionKind::stream_table, std::move(table.bytes())},
                         {SectionKind::stream_data, std::move(streams.data())},
                         {SectionKind::metadata, artifact.metadata},
                         {SectionKind::provenance, artifact.provenance}},
                        features);
}

Artifact decode(const uint8_t* data, size_t size, bool verify) {
  return decode_checked(data, size, verify ? Checksums::all : Checksums::none);
}

std::vector<StoredTensor> decode_tensors(const uint8_t* data, size_t size,
                                         const std::vector<std::string>& names, bool verify) {
  const Artifact artifact =
      decode_checked(data, size, verify ? Checksums::taken : Checksums::none, nullptr, &names);
  std::vector<StoredTensor> tensors;
  for (const std::string& name : names) {
    const graph::EdgeId id = artifact.graph.find_edge(name);
    TERSOR_CHECK(id != graph::kNoEdge && artifact.graph.edge(id).is_constant(),
                 "read_tensors: names must be those of constants, got ", name);
    tensors.push_back({artifact.graph.edge(id).constant, artifact.graph.edge(id).qparams});
  }
  return tensors;
}

ArtifactInfo inspect(const uint8_t* data, size_t size) {
  ArtifactInfo info;
  decode_checked(data, size, Checksums::all, &info);
  return info;
}

uint64_t stored_bytes(const Tensor& tensor, int bits, Profile profile) {
  StreamWriter streams(profile);
  streams.add(tensor, bits, true);
  return streams.data().size();
}

}  // namespace tersor::artifact
