// The tensor section: a table of streams and their bytes. A tensor's values, its scales and its
// zero points are streams of their own, each with a coding and a checksum, so that each can be
// decoded alone.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tersor/artifact/byte_stream.h"
#include "tersor/artifact/sparse_stream.h"
#include "tersor/coding/symbols.h"
#include "tersor/tensor/tensor.h"

namespace tersor::artifact {

enum class Coding : uint8_t {
  raw = 0,     // little-endian elements
  packed = 1,  // codes of `bits` bits (coding/bit_packing.h)
  sparse = 2,  // a mask and the elements that it keeps (sparse_stream.h); needs kFeatureSparse
  coded = 3,   // entropy-coded (coded_stream.h); needs kFeatureCoded
};
inline constexpr uint64_t kCodingCount = 4;

struct Stream {
  Coding coding = Coding::raw;
  uint64_t offset = 0;  // in the data section
  uint64_t length = 0;
  uint32_t crc = 0;
  SparseStreamSizes parts;  // of length; known once the stream was taken
};

class StreamWriter {
 public:
  // No profile: nothing is entropy-coded.
  explicit StreamWriter(std::optional<coding::Profile> profile = {}) : profile_(profile) {}
  // Returns the stream's index. `bits` < 8 with an 8-bit dtype packs. `is_weight`: zeros are left
  // out and symbols coded where that pays.
  size_t add(const Tensor& tensor, int bits, bool is_weight = false);
  bool has(Coding coding) const;
  void write_table(ByteWriter& out) const;
  std::vector<uint8_t>& data() { return data_.bytes(); }

 private:
  std::optional<coding::Profile> profile_;
  std::vector<Stream> streams_;
  ByteWriter data_;
};

class StreamReader {
 public:
  // Checks that the streams follow each other without overlap and that gaps hold only the zeros of
  // alignment, and all checksums unless told otherwise. The data must outlive the reader.
  // `features`: those that the file declares (sections.h).
  enum class Checksums { all, taken, none };
  StreamReader(ByteReader& table, const uint8_t* data, size_t size, uint64_t features,
               Checksums checksums);

  size_t size() const { return streams_.size(); }
  const Stream& operator[](size_t i) const { return streams_[i]; }
  // Each stream is taken once. The length must be exactly what dtype, shape and bits need.
  Tensor take(size_t index, DType dtype, const Shape& shape, int bits, bool is_signed);
  // The same, but the tensor gets its values only in decode_pending(), which uses all threads.
  Tensor take_later(size_t index, DType dtype, const Shape& shape, int bits, bool is_signed);
  void decode_pending();
  // Checks the form as the others do; the tensor is zeros.
  Tensor skip(size_t index, DType dtype, const Shape& shape, int bits, bool is_signed);
  void expect_all_taken() const;

 private:
  struct Job {
    size_t index;
    Tensor tensor;
    int bits;
    bool is_signed;
  };
  Job job(size_t index, DType dtype, const Shape& shape, int bits, bool is_signed);
  void run(Job& job);
  void check(const Stream& stream) const;

  Checksums checksums_;
  std::vector<Stream> streams_;
  std::vector<bool> taken_;
  std::vector<Job> pending_;
  const uint8_t* data_;
};

}  // namespace tersor::artifact
