#include "tersor/artifact/sections.h"

#include <algorithm>
#include <cstring>

#include "tersor/artifact/artifact.h"
#include "tersor/artifact/byte_stream.h"
#include "tersor/base/crc32c.h"
#include "tersor/base/error.h"

namespace tersor::artifact {
namespace {

// The first byte is no text and the line ends catch transfers in text mode, as in PNG.
constexpr uint8_t kMagic[8] = {0x89, 'T', 'S', 'R', '\r', '\n', 0x1a, '\n'};
constexpr size_t kHeaderBytes = 64;
constexpr size_t kEntryBytes = 24;
constexpr size_t kAlignment = 64;

size_t aligned(size_t v) { return (v + kAlignment - 1) / kAlignment * kAlignment; }

constexpr SectionKind kKinds[] = {SectionKind::graph, SectionKind::stream_table,
                                  SectionKind::metadata, SectionKind::provenance,
                                  SectionKind::stream_data};

}  // namespace

const char* name_of(SectionKind kind) {
  switch (kind) {
    case SectionKind::graph:
      return "graph";
    case SectionKind::stream_table:
      return "stream table";
    case SectionKind::stream_data:
      return "stream data";
    case SectionKind::metadata:
      return "metadata";
    case SectionKind::provenance:
      return "provenance";
  }
  return "";
}

std::vector<uint8_t> write_sections(const std::map<SectionKind, std::vector<uint8_t>>& sections,
                                    uint64_t features) {
  ByteWriter table;
  size_t offset = aligned(kHeaderBytes + std::size(kKinds) * kEntryBytes);
  for (SectionKind kind : kKinds) {
    const std::vector<uint8_t>& bytes = sections.at(kind);
    table.u32(static_cast<uint32_t>(kind));
    table.u64(offset);
    table.u64(bytes.size());
    table.u32(crc32c(bytes.data(), bytes.size()));
    offset = aligned(offset + bytes.size());
  }
  const std::vector<uint8_t>& last = sections.at(kKinds[std::size(kKinds) - 1]);
  const size_t file_bytes = offset - aligned(last.size()) + last.size();

  ByteWriter out;
  out.raw(kMagic, sizeof kMagic);
  out.u32(kVersionMajor | static_cast<uint32_t>(kVersionMinor) << 16);
  out.u32(std::size(kKinds));
  out.u64(file_bytes);
  out.u64(features);
  out.u32(crc32c(table.bytes().data(), table.size()));
  while (out.size() < kHeaderBytes - 4) out.u8(0);
  out.u32(crc32c(out.bytes().data(), out.size()));
  out.raw(table.bytes().data(), table.size());
  for (SectionKind kind : kKinds) {
    out.align(kAlignment);
    const std::vector<uint8_t>& bytes = sections.at(kind);
    out.raw(bytes.data(), bytes.size());
  }
  return std::move(out.bytes());
}

Frame read_sections(const uint8_t* data, size_t size) {
  ByteReader header(data, std::min(size, kHeaderBytes), "header");
  if (size < kHeaderBytes || std::memcmp(data, kMagic, sizeof kMagic) != 0) {
    header.fail("this is not a .tersor file, or its start is damaged");
  }
  for (size_t i = 0; i < sizeof kMagic; ++i) header.u8();
  const uint32_t version = header.u32();
  const uint32_t count = header.u32();
  const uint64_t file_bytes = header.u64();
  const uint64_t features = header.u64();
  const uint32_t table_crc = header.u32();
  ByteReader tail(data + kHeaderBytes - 4, 4, "header");
  if (tail.u32() != crc32c(data, kHeaderBytes - 4)) header.fail("the checksum does not match");
  if (std::any_of(data + 36, data + kHeaderBytes - 4, [](uint8_t b) { return b != 0; })) {
    header.fail("reserved bytes must be zero");
  }
  Frame frame;
  frame.version_major = static_cast<uint16_t>(version);
  frame.version_minor = static_cast<uint16_t>(version >> 16);
  if (frame.version_major != kVersionMajor) {
    header.fail(message("format version ", frame.version_major, ".", frame.version_minor,
                        "; this tersor reads ", kVersionMajor, ": update tersor"));
  }
  frame.features = features;
  if (features & ~kKnownFeatures)
    header.fail("the file needs a feature that this tersor lacks: update tersor");
  if (file_bytes != size)
    header.fail(message("the file must have ", file_bytes, " bytes, got ", size));
  if (count != std::size(kKinds)) header.fail(message("there must be 5 sections, got ", count));
  const size_t table_end = kHeaderBytes + count * kEntryBytes;
  if (size < table_end) header.fail("the section table is cut");
  if (crc32c(data + kHeaderBytes, table_end - kHeaderBytes) != table_crc) {
    header.fail("the checksum of the section table does not match");
  }
  ByteReader table(data + kHeaderBytes, table_end - kHeaderBytes, "section table");
  size_t at = table_end;
  for (SectionKind expected : kKinds) {
    const uint32_t kind = table.u32();
    const uint64_t offset = table.u64(), length = table.u64();
    const uint32_t crc = table.u32();
    if (kind != static_cast<uint32_t>(expected))
      table.fail("sections are out of order, unknown or doubled");
    if (offset != aligned(at) || offset > size || length > size - offset) {
      table.fail(message("section ", name_of(expected), " does not lie where it must"));
    }
    if (std::any_of(data + at, data + offset, [](uint8_t b) { return b != 0; })) {
      table.fail("padding between sections must be zero");
    }
    if (expected != SectionKind::stream_data && crc32c(data + offset, length) != crc) {
      table.fail(message("the checksum of section ", name_of(expected), " does not match"));
    }
    frame.sections[expected] = {data + offset, static_cast<size_t>(length), offset};
    at = static_cast<size_t>(offset + length);
  }
  if (at != size) table.fail("there are bytes after the last section");
  return frame;
}

}  // namespace tersor::artifact
