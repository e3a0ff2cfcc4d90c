// The frame of the file: header, section table, 64-byte aligned sections, checksums over every
// byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "tersor/base/export.h"

namespace tersor::artifact {

enum class SectionKind : uint32_t {
  graph = 1,
  stream_table = 2,
  stream_data = 3,
  metadata = 4,
  provenance = 5,
};

struct Section {
  const uint8_t* data = nullptr;
  size_t size = 0;
  uint64_t offset = 0;
};

const char* name_of(SectionKind kind);

// Features: a file that needs one is refused by readers that do not know it; a file that needs none
// is what they have always read.
// Groups, scales along several axes, float zero points, scales stored as float16.
inline constexpr uint64_t kFeatureWeightFormats = 1;
inline constexpr uint64_t kFeatureSparse = 2;     // sparse streams
inline constexpr uint64_t kFeatureCodebooks = 4;  // codebooks of weights
inline constexpr uint64_t kFeatureCoded = 8;      // entropy-coded streams
inline constexpr uint64_t kKnownFeatures =
    kFeatureWeightFormats | kFeatureSparse | kFeatureCodebooks | kFeatureCoded;

std::vector<uint8_t> write_sections(const std::map<SectionKind, std::vector<uint8_t>>& sections,
                                    uint64_t features);

struct Frame {
  uint16_t version_major = 0, version_minor = 0;
  uint64_t features = 0;
  std::map<SectionKind, Section> sections;
};

// Checks header, table, order, padding and checksums. All five sections must be there, once.
// The stream data has a checksum for each stream as well, which is what a reader compares.
Frame read_sections(const uint8_t* data, size_t size);

}  // namespace tersor::artifact
