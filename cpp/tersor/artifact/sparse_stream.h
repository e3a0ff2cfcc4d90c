// A stream of a pruned tensor: a mask (coding/mask.h) and the elements that it keeps.
//
//   method: u8   parameter: u8   kept: varint   mask bytes: varint   width: varint
//   axis: varint, inner: varint      if width > 1; otherwise the tensor is one axis
//   mask
//   elements of the kept units, in order; as raw or packed streams hold them
//
// Zeros are left out; -0.0, which a weight times its mask may be, comes back as 0.0.
#pragma once

#include <cstdint>
#include <vector>

#include "tersor/tensor/tensor.h"

namespace tersor::artifact {

// A stream describes at most this many elements with a byte, so that a small file cannot ask for
// much memory.
inline constexpr uint64_t kSparseElementsPerByte = 256;

// The smallest form, or nothing where it saves less than 1/16 of `dense_bytes`. `bits` < 8 packs.
std::vector<uint8_t> encode_sparse_stream(const Tensor& tensor, int bits, size_t dense_bytes);

struct SparseStreamSizes {
  uint64_t values = 0, indices = 0, metadata = 0;
};

// Fills the zeroed tensor. ArtifactError unless the bytes are exactly such a stream.
SparseStreamSizes decode_sparse_stream(const uint8_t* data, size_t size, int bits, bool is_signed,
                                       Tensor& tensor);

}  // namespace tersor::artifact
