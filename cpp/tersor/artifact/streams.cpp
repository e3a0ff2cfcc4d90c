#include "tersor/artifact/streams.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tersor/artifact/coded_stream.h"
#include "tersor/artifact/sections.h"
#include "tersor/base/crc32c.h"
#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/coding/bit_packing.h"

namespace tersor::artifact {
namespace {

// Elements are copied as they lie in memory.
static_assert(std::endian::native == std::endian::little, "the artifact is little-endian");

// Large streams start on cache lines so that a file mapped into memory can be used in place; small
// ones would waste more than they hold.
constexpr size_t kLargeStream = 4096;
size_t alignment_of(uint64_t length) { return length >= kLargeStream ? 64 : 4; }

constexpr size_t kMaxRank = 8;

size_t stored_bytes(Coding coding, DType dtype, int64_t count, int bits) {
  return coding == Coding::packed ? coding::packed_size(static_cast<size_t>(count), bits)
                                  : static_cast<size_t>(count) * size_of(dtype);
}

bool packs(DType dtype, int bits) {
  return (dtype == DType::int8 || dtype == DType::uint8) && bits < 8;
}

}  // namespace

size_t StreamWriter::add(const Tensor& tensor, int bits, bool is_weight) {
  Stream s;
  s.coding = packs(tensor.dtype(), bits) ? Coding::packed : Coding::raw;
  s.length = stored_bytes(s.coding, tensor.dtype(), tensor.size(), bits);
  s.parts.values = s.length;
  std::vector<uint8_t> smaller;
  if (is_weight)
    smaller = encode_sparse_stream(tensor, packs(tensor.dtype(), bits) ? bits : 8, s.length);
  if (!smaller.empty()) {
    s.coding = Coding::sparse;
    s.length = smaller.size();
  }
  if (is_weight && profile_) {
    auto coded = encode_coded_stream(tensor, *profile_, s.length);
    if (!coded.empty()) {
      s.coding = Coding::coded;
      s.length = coded.size();
      smaller = std::move(coded);
    }
  }
  data_.align(alignment_of(s.length));
  s.offset = data_.size();
  std::vector<uint8_t>& bytes = data_.bytes();
  bytes.resize(bytes.size() + s.length);
  uint8_t* to = bytes.data() + s.offset;
  if (!smaller.empty()) {
    std::memcpy(to, smaller.data(), smaller.size());
  } else if (s.coding == Coding::packed) {
    coding::pack_bits(tensor.as<uint8_t>(), static_cast<size_t>(tensor.size()), bits, to);
  } else if (s.length) {
    std::memcpy(to, tensor.data(), s.length);
  }
  s.crc = crc32c(to, s.length);
  streams_.push_back(s);
  return streams_.size() - 1;
}

bool StreamWriter::has(Coding coding) const {
  return std::any_of(streams_.begin(), streams_.end(),
                     [&](const Stream& s) { return s.coding == coding; });
}

void StreamWriter::write_table(ByteWriter& out) const {
  out.varint(streams_.size());
  for (const Stream& s : streams_) {  // offsets follow from lengths and alignment
    out.u8(static_cast<uint8_t>(s.coding));
    out.varint(s.length);
    out.u32(s.crc);
  }
}

StreamReader::StreamReader(ByteReader& table, const uint8_t* data, size_t size, uint64_t features,
                           Checksums checksums)
    : checksums_(checksums), data_(data) {
  const size_t count = table.count(6);
  uint64_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    Stream s;
    s.coding = static_cast<Coding>(table.varint_below(kCodingCount, "coding"));
    if ((s.coding == Coding::sparse && !(features & kFeatureSparse)) ||
        (s.coding == Coding::coded && !(features & kFeatureCoded)))
      table.fail("a coding needs a feature that the file does not declare");
    s.length = table.varint();
    s.crc = table.u32();
    const uint64_t alignment = alignment_of(s.length);
    s.offset = (at + alignment - 1) / alignment * alignment;
    if (s.offset > size || s.length > size - s.offset)
      table.fail("a stream is longer than the data");
    if (std::any_of(data + at, data + s.offset, [](uint8_t b) { return b != 0; })) {
      table.fail("padding between streams must be zero");
    }
    at = s.offset + s.length;
    streams_.push_back(s);
  }
  if (at != size) table.fail("the data has bytes that belong to no stream");
  if (checksums == Checksums::all)
    parallel_tasks(streams_.size(), 0, [&](size_t i, int) { check(streams_[i]); });
  taken_.assign(streams_.size(), false);
}

void StreamReader::check(const Stream& s) const {
  if (crc32c(data_ + s.offset, s.length) != s.crc)
    throw ArtifactError("artifact: section stream table: the checksum of a stream does not match");
}

StreamReader::Job StreamReader::job(size_t index, DType dtype, const Shape& shape, int bits,
                                    bool is_signed) {
  if (index >= streams_.size())
    throw ArtifactError("artifact: a tensor names a stream that does not exist");
  if (taken_[index]) throw ArtifactError("artifact: two tensors use one stream");
  taken_[index] = true;
  if (shape.size() > kMaxRank) throw ArtifactError("artifact: a tensor has more than 8 dimensions");
  Stream& s = streams_[index];
  const int64_t count = element_count(shape);
  if (s.coding == Coding::sparse || s.coding == Coding::coded) {
    if (static_cast<uint64_t>(count) > kSparseElementsPerByte * s.length ||
        (s.coding == Coding::coded && !has_coded_form(dtype)))
      throw ArtifactError(message("artifact: a stream of ", s.length, " bytes cannot hold the ",
                                  to_string(shape), " tensor"));
    return {index, Tensor(dtype, shape), bits, is_signed};
  }
  s.parts.values = s.length;
  if ((s.coding == Coding::packed) != packs(dtype, bits) ||
      // Without this an enormous count could wrap around below.
      static_cast<uint64_t>(count) > 8 * (s.length + 1) ||
      stored_bytes(s.coding, dtype, count, bits) != s.length) {
    throw ArtifactError(message("artifact: a stream must hold the ", to_string(shape),
                                " tensor, got ", s.length, " bytes"));
  }
  return {index, Tensor(dtype, shape), bits, is_signed};
}

void StreamReader::run(Job& job) {
  Stream& s = streams_[job.index];
  Tensor& t = job.tensor;
  const uint8_t* from = data_ + s.offset;
  if (checksums_ == Checksums::taken) check(s);
  switch (s.coding) {
    case Coding::sparse:
      std::memset(t.data(), 0, t.size_bytes());
      s.parts = decode_sparse_stream(from, s.length, packs(t.dtype(), job.bits) ? job.bits : 8,
                                     job.is_signed, t);
      break;
    case Coding::coded:
      decode_coded_stream(from, s.length, t);
      s.parts = {s.length, 0, 0};
      break;
    case Coding::packed:
      coding::unpack_bits(from, static_cast<size_t>(t.size()), job.bits, job.is_signed,
                          t.as<uint8_t>());
      break;
    case Coding::raw:
      if (s.length) std::memcpy(t.data(), from, s.length);
  }
}

Tensor StreamReader::take(size_t index, DType dtype, const Shape& shape, int bits, bool is_signed) {
  Job now = job(index, dtype, shape, bits, is_signed);
  run(now);
  return std::move(now.tensor);
}

Tensor StreamReader::take_later(size_t index, DType dtype, const Shape& shape, int bits,
                                bool is_signed) {
  pending_.push_back(job(index, dtype, shape, bits, is_signed));
  return pending_.back().tensor;
}

Tensor StreamReader::skip(size_t index, DType dtype, const Shape& shape, int bits, bool is_signed) {
  Job now = job(index, dtype, shape, bits, is_signed);
  std::memset(now.tensor.data(), 0, now.tensor.size_bytes());
  return std::move(now.tensor);
}

void StreamReader::decode_pending() {
  parallel_tasks(pending_.size(), 0, [&](size_t i, int) { run(pending_[i]); });
  pending_.clear();
}

void StreamReader::expect_all_taken() const {
  if (!std::all_of(taken_.begin(), taken_.end(), [](bool t) { return t; })) {
    throw ArtifactError("artifact: a stream belongs to no tensor");
  }
}

}  // namespace tersor::artifact
