// A coded stream: 8-bit elements as symbols (coding/symbols.h; int8 with its sign bit flipped, so
// that symbols ascend with values), elements of 2 and 4 bytes as planes (coding/float_planes.h).
//
// Rows are what one output reads, the first dimension counting outputs; taps are the dimensions
// after the second.
#pragma once

#include <cstdint>
#include <vector>

#include "tersor/coding/symbols.h"
#include "tersor/tensor/tensor.h"

namespace tersor::artifact {

// Nothing where this dtype has no coded form or it saves too little of `plain_bytes`: the fast
// profile must pay for the time that it takes to decode.
std::vector<uint8_t> encode_coded_stream(const Tensor& tensor, coding::Profile profile,
                                         size_t plain_bytes);
bool has_coded_form(DType dtype);
// Fills the tensor. ArtifactError unless the bytes are exactly such a stream.
void decode_coded_stream(const uint8_t* data, size_t size, Tensor& tensor);

}  // namespace tersor::artifact
