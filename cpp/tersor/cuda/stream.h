// What a caller on the host needs to say where work shall run. No CUDA headers: bindings and doors
// include this.
#pragma once

struct CUstream_st;

namespace tersor::cuda {

using Stream = CUstream_st*;  // cudaStream_t; nullptr is the legacy default stream

enum class Number { float32, bfloat16 };  // of activations, logits and weights

constexpr unsigned bytes_of(Number n) { return n == Number::bfloat16 ? 2 : 4; }

}  // namespace tersor::cuda
