// The compressed file `.tersor`: one network, checked to the last byte. Byte layout:
// docs/design/artifact.md.
//
// Writers write a temporary file beside the target and rename it. Readers trust nothing: whatever
// is wrong ends in ArtifactError, with memory bounded by a small multiple of the file's size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/coding/symbols.h"
#include "tersor/graph/graph.h"

namespace tersor::artifact {

inline constexpr uint16_t kVersionMajor = 1;  // a reader refuses a larger one
inline constexpr uint16_t kVersionMinor = 0;

struct Artifact {
  graph::Graph graph;
  // Opaque to C++: recipe, preprocessing, lineage, as the Python layer packs them. Part of the
  // content.
  std::vector<uint8_t> metadata;
  // Measurements, times, machine. Not part of the content.
  std::vector<uint8_t> provenance;
};

// A constant; codes are what its QParams say.
struct StoredTensor {
  Tensor values;
  std::optional<quantization::QParams> qparams;
};

struct SectionInfo {
  std::string name;
  uint64_t offset;
  uint64_t length;
};

struct StreamInfo {
  std::string edge;    // whose tensor
  std::string part;    // values, scale, zero_point
  std::string coding;  // raw, packed, sparse, coded
  uint64_t offset;     // in the file
  uint64_t length;     // values + indices + metadata
  uint64_t values, indices, metadata;
};

struct ArtifactInfo {
  uint16_t version_major, version_minor;
  uint64_t file_bytes;
  std::vector<SectionInfo> sections;
  std::vector<StreamInfo> streams;
};

// How tensors are entropy-coded, if at all (coding/symbols.h).
using Profile = std::optional<coding::Profile>;

TERSOR_API std::vector<uint8_t> encode(const Artifact& artifact, Profile profile = {});
// verify: compare the checksums of the tensors; everything else is checked in any case.
TERSOR_API Artifact decode(const uint8_t* data, size_t size, bool verify = true);
// The constants of these names alone: the values of the others are neither compared with their
// checksums nor decoded. ValueError naming one that is not there.
TERSOR_API std::vector<StoredTensor> decode_tensors(const uint8_t* data, size_t size,
                                                    const std::vector<std::string>& names,
                                                    bool verify = true);
TERSOR_API ArtifactInfo inspect(const uint8_t* data, size_t size);  // checked like decode

// Bytes of the values stream of a constant: codes of `bits` bits where below 8, zeros left out and
// symbols coded where that pays.
TERSOR_API uint64_t stored_bytes(const Tensor& tensor, int bits, Profile profile = {});

TERSOR_API void write_file(const std::string& path, const Artifact& artifact, Profile profile = {});
TERSOR_API Artifact read_file(const std::string& path, bool verify = true);
// The constants of these names alone: the values of the others are neither compared with their
// checksums nor decoded. ValueError naming one that is not there.
TERSOR_API std::vector<StoredTensor> read_tensors(const std::string& path,
                                                  const std::vector<std::string>& names,
                                                  bool verify = true);

}  // namespace tersor::artifact
