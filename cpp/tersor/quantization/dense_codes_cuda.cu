// Layers of 4-bit weights for few rows, which wait for their weights: from compute capability 8.0
// on on tensor cores, because decoding and multiplying one by one would take longer than the
// memory.
#include <cuda_runtime.h>

#include "tersor/base/error.h"
#include "tersor/cuda/divider.h"
#include "tersor/cuda/gemv_int4.h"
#include "tersor/cuda/mma.h"
#include "tersor/quantization/cuda.h"

namespace tersor::quantization {
namespace {

using cuda::kWarp;

// scale * (code - zero_point) with one scale for 32 codes.
struct GroupDecode {
  const float* scale;
  const float* zero;  // or null
  cuda::Divider by_group;
  std::size_t groups;
  bool is_signed;

  __device__ float operator()(const uint4& codes, const float* x, std::size_t o,
                              std::size_t k) const {
    const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
    float sum = 0, x_sum = 0;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      // Two's complement plus 8 is the bits with the highest one flipped.
      const unsigned word = is_signed ? words[w] ^ 0x88888888u : words[w];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        // Four bits below the exponent of 1 are 1 + code / 16: no conversion.
        const int shift = 19 - 4 * i;
        const unsigned moved = shift >= 0 ? word << (shift & 31) : word >> (-shift & 31);
        const float f = __uint_as_float((moved & 0x00780000u) | 0x3f800000u);
        const float v = x[(8 * w + i) * static_cast<int>(kWarp)];
        sum = fmaf(v, f, sum);
        x_sum += v;
      }
    }
    const std::size_t s = o * groups + by_group.divide(static_cast<std::uint32_t>(k));
    const float offset = (is_signed ? 24.0f : 16.0f) + (zero ? zero[s] : 0.0f);
    return scale[s] * fmaf(16.0f, sum, -offset * x_sum);
  }
};

constexpr unsigned kOutputs = 16;       // of a block: the rows of a tensor core's product
constexpr unsigned kBlockInputs = 128;  // that a quarter of a warp's lanes read: 64 bytes of a row
// 8 warps share the inputs of the block's outputs and hold 4 pieces each, so that 4,096 inputs of
// 16 outputs (32 KiB) are on their way at once: a matrix of 4,096 x 4,096 is requested at once by
// 256 blocks, before the first code is used.
constexpr unsigned kWarps = 8, kDepth = 4;
constexpr unsigned kChunkBlocks = kWarps * kDepth;
constexpr unsigned kColumns = 8;  // of a tensor core's product

struct TiledInt4 {
  const std::uint8_t* codes;
  bool is_signed;
  std::size_t rows, outputs, inputs;
  unsigned blocks, chunk;  // pieces of 128 inputs: all, in shared memory
  const float* scale;
  const float* zero;
  std::size_t pitch;       // of scale and zero
  cuda::Divider by_scale;  // blocks that share a scale
  const void* x;
  bool vectors;  // x may be read 16 bytes at a time
  const float* bias;
  float low, high;
  float* y;
};

// float32 is the sum of three bfloat16: 24 bits of mantissa are three times 8.
template <class T>
constexpr unsigned kSplit = sizeof(T) == 4 ? 3 : 1;
template <class T>
constexpr unsigned kRows = kColumns / kSplit<T>;  // of x that a pass over the weights serves

// What a lane keeps of a piece: 32 codes of two outputs, their scales.
template <unsigned kScales>
struct Piece {
  uint4 codes[2];
  float scale[2][kScales];
};

template <unsigned kScales>
__device__ void load_scales(const float* p, float (&s)[kScales]) {
  if constexpr (kScales == 4) {
    const float4 v = *reinterpret_cast<const float4*>(p);
    s[0] = v.x, s[1] = v.y, s[2] = v.z, s[3] = v.w;
  } else if constexpr (kScales == 2) {
    const float2 v = *reinterpret_cast<const float2*>(p);
    s[0] = v.x, s[1] = v.y;
  } else {
    s[0] = *p;
  }
}

// Where a lane's two outputs begin: codes at the warp's first piece, and what belongs to them.
struct Outputs {
  const uint4* codes[2];
  const float* scale[2];
  const float* zero[2];
};

__device__ inline Outputs outputs_of(const TiledInt4& a, std::size_t tile, unsigned warp) {
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const std::size_t last = a.outputs - 1;
  Outputs out;
#pragma unroll
  for (unsigned r = 0; r < 2; ++r) {
    const std::size_t o = tile + g + 8 * r < last ? tile + g + 8 * r : last;
    out.codes[r] = reinterpret_cast<const uint4*>(a.codes) + (o * a.blocks + warp) * 4 + t;
    out.scale[r] = a.scale + o * a.pitch;
    out.zero[r] = a.zero ? a.zero + o * a.pitch : nullptr;
  }
  return out;
}

template <unsigned kScales>
__device__ unsigned scale_at(const TiledInt4& a, unsigned b) {
  return kScales == 1 ? a.by_scale.divide(b) : b * kScales;
}

// Piece b = begin + kWarps * s + warp; `begin` is a chunk's, so that what depends on s is constant.
template <unsigned kScales>
__device__ void load_piece(const TiledInt4& a, const Outputs& out, unsigned begin, unsigned s,
                           Piece<kScales>& piece) {
  const unsigned b = begin + kWarps * s + threadIdx.x / kWarp;
  if (b >= a.blocks) return;
  const unsigned at = scale_at<kScales>(a, b);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    piece.codes[r] = __ldcs(out.codes[r] + begin * 4 + kWarps * 4 * s);  // once: not for caches
    load_scales<kScales>(out.scale[r] + at, piece.scale[r]);
  }
}

// Codes i and i + 4 of a word as two bfloat16, exactly.
__device__ inline std::uint32_t decoded(std::uint32_t word, int i, std::uint32_t flip,
                                        std::uint32_t offset) {
  // 0x43 is the exponent of 128, whose last place is 1: 128 + code.
  return cuda::add_exact2((word >> (4 * i) & 0x000f000fu) ^ flip, offset);
}

// Eight values of x to the columns of their row, the four pairs (i, i + 4) of a product's fragment.
template <class T>
__device__ void put_columns(const float (&v)[8], uint4* to, unsigned stride) {
  float rest[8];
#pragma unroll
  for (int k = 0; k < 8; ++k) rest[k] = isnan(v[k]) ? NAN : v[k];
#pragma unroll
  for (unsigned c = 0; c < kSplit<T>; ++c) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pairs[i] = __float_as_uint(rest[i]) >> 16 | (__float_as_uint(rest[i + 4]) & 0xffff0000u);
    }
    to[c * stride] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      // Cut off, not rounded: what is left is exact, and nothing becomes infinite.
      const float cut = __uint_as_float(__float_as_uint(rest[k]) & 0xffff0000u);
      rest[k] = fabsf(rest[k]) < INFINITY ? rest[k] - cut : 0.0f;
    }
  }
}

// x of a chunk to shared memory: [piece][word of 8 codes a lane][column][t], and with zero points
// sums[column][32 inputs].
template <class T, bool kZero>
__device__ void stage(const TiledInt4& a, std::size_t first_row, unsigned rows, unsigned begin,
                      uint4* staged, float* sums) {
  const unsigned blocks = a.blocks - begin < a.chunk ? a.blocks - begin : a.chunk;
  const unsigned eights = blocks * (kBlockInputs / 8), columns = rows * kSplit<T>;
  for (unsigned base = 0; base < rows * eights; base += blockDim.x) {
    const unsigned i = base + threadIdx.x, m = i / eights, q = i - m * eights;
    const bool valid = m < rows;
    float v[8] = {};
    if (valid) {
      const std::size_t k = std::size_t{begin} * kBlockInputs + 8 * q;
      const T* const from = static_cast<const T*>(a.x) + (first_row + m) * a.inputs;
      if (a.vectors && k + 8 <= a.inputs) {
        cuda::load8(from + k, v);
      } else if (k < a.inputs) {
        const std::size_t left = a.inputs - k;
        cuda::load_some(from + k, static_cast<unsigned>(left < 8 ? left : std::size_t{8}), v);
      }
      put_columns<T>(v, staged + (q / 4 * columns + m * kSplit<T>)*4 + q % 4, 4);
    }
    if constexpr (kZero) {
      float sum = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
      sum += cuda::shuffle_xor(sum, 1);
      sum += cuda::shuffle_xor(sum, 2);
      if (valid && q % 4 == 0) {
#pragma unroll
        for (unsigned c = 0; c < kSplit<T>; ++c) {
          sums[(m * kSplit<T> + c) * (4 * kChunkBlocks) + q / 4] = c == 0 ? sum : 0.0f;
        }
      }
    }
  }
}

// Piece number `local` of the chunk, piece b of the rows.
template <unsigned kScales, bool kZero>
__device__ void use_piece(const TiledInt4& a, const Piece<kScales>& piece, const Outputs& out,
                          unsigned local, unsigned b, unsigned columns, const uint4* staged,
                          const float* sums, float (&y)[4]) {
  const unsigned lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const std::uint32_t flip = a.is_signed ? 0x43084308u : 0x43004300u;
  const std::uint32_t offset = a.is_signed ? 0xc308c308u : 0xc300c300u;  // -136, -128
  const std::uint32_t words[2][4] = {
      {piece.codes[0].x, piece.codes[0].y, piece.codes[0].z, piece.codes[0].w},
      {piece.codes[1].x, piece.codes[1].y, piece.codes[1].z, piece.codes[1].w}};
  float sum[4] = {}, x_sum[2] = {};
#pragma unroll
  for (unsigned w = 0; w < 4; ++w) {
    uint4 x = make_uint4(0, 0, 0, 0);
    if (g < columns) x = staged[((local * 4 + w) * columns + g) * 4 + t];
    const std::uint32_t pairs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t codes[4] = {decoded(words[0][w], 2 * half, flip, offset),
                                      decoded(words[1][w], 2 * half, flip, offset),
                                      decoded(words[0][w], 2 * half + 1, flip, offset),
                                      decoded(words[1][w], 2 * half + 1, flip, offset)};
      const std::uint32_t values[2] = {pairs[2 * half], pairs[2 * half + 1]};
      cuda::multiply_add(sum, codes, values);
    }
    if constexpr (kZero) {
#pragma unroll
      for (unsigned c = 0; c < 2; ++c) {
        if (2 * t + c < columns) x_sum[c] += sums[(2 * t + c) * (4 * kChunkBlocks) + local * 4 + w];
      }
    }
    constexpr unsigned kShare = 4 / kScales;
    if ((w + 1) % kShare != 0) continue;
#pragma unroll
    for (unsigned r = 0; r < 2; ++r) {
      const float scale = piece.scale[r][w / kShare];
      float zero = 0;
      if constexpr (kZero) zero = out.zero[r][scale_at<kScales>(a, b) + w / kShare];
#pragma unroll
      for (unsigned c = 0; c < 2; ++c) {
        float part = sum[2 * r + c];
        if constexpr (kZero) part = fmaf(-zero, x_sum[c], part);
        y[2 * r + c] = fmaf(scale, part, y[2 * r + c]);
        sum[2 * r + c] = 0;
      }
    }
    x_sum[0] = x_sum[1] = 0;
  }
}

template <class T, unsigned kScales, bool kZero>
__global__ void __launch_bounds__(kWarps* kWarp, 2) dense_int4_kernel(TiledInt4 a) {
  TERSOR_DYNAMIC_SHARED(memory);
  TERSOR_SHARED(float, x_sums, kZero ? kColumns * 4 * kChunkBlocks : 1);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const std::size_t tile = blockIdx.x * std::size_t{kOutputs};
  const std::size_t first_row = blockIdx.y * std::size_t{kRows<T>};
  const auto rows =
      static_cast<unsigned>(a.rows - first_row < kRows<T> ? a.rows - first_row : kRows<T>);
  const unsigned columns = rows * kSplit<T>;
  const Outputs out = outputs_of(a, tile, warp);
  auto* const staged = reinterpret_cast<uint4*>(memory);
  cuda::let_next_grid_start();
  Piece<kScales> pieces[kDepth];
#pragma unroll
  for (unsigned s = 0; s < kDepth; ++s) load_piece(a, out, 0, s, pieces[s]);
  cuda::wait_for_grid_before();
  float y[4] = {};
  for (unsigned begin = 0; begin < a.blocks; begin += kChunkBlocks) {
    __syncthreads();
    stage<T, kZero>(a, first_row, rows, begin, staged, x_sums);
    __syncthreads();
#pragma unroll
    for (unsigned s = 0; s < kDepth; ++s) {
      const unsigned local = s * kWarps + warp, b = begin + local;
      if (b < a.blocks) {
        use_piece<kScales, kZero>(a, pieces[s], out, local, b, columns, staged, x_sums, y);
      }
      load_piece(a, out, begin + kChunkBlocks, s, pieces[s]);
    }
  }
  // The warps' sums, added in the order of the warps.
  __syncthreads();
  auto* const parts = reinterpret_cast<float*>(memory);  // [warp][output][column]
#pragma unroll
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = g + 8 * (i / 2), column = 2 * t + i % 2;
    parts[(warp * kOutputs + row) * kColumns + column] = y[i];
  }
  __syncthreads();
  const unsigned output = threadIdx.x % kOutputs, m = threadIdx.x / kOutputs;
  if (m >= rows || tile + output >= a.outputs) return;
  float sum = 0;
  for (unsigned w = 0; w < kWarps; ++w) {
#pragma unroll
    for (unsigned c = 0; c < kSplit<T>; ++c) {
      sum += parts[(w * kOutputs + output) * kColumns + m * kSplit<T> + c];
    }
  }
  if (a.bias) sum += a.bias[tile + output];
  if (sum < a.low) sum = a.low;
  if (sum > a.high) sum = a.high;
  a.y[(first_row + m) * a.outputs + tile + output] = sum;
}

template <class T, unsigned kScales>
void run_tiles(const TiledInt4& a, Stream stream) {
  cuda::Grid grid;
  grid.threads = kWarps * kWarp;
  grid.stream = stream;
  grid.early = true;
  const std::size_t passes = (a.rows + kRows<T> - 1) / kRows<T>;
  TERSOR_CHECK(passes <= 65535, "DenseInt4: x must have fewer rows, got ", a.rows);
  grid.blocks = dim3(static_cast<unsigned>((a.outputs + kOutputs - 1) / kOutputs),
                     static_cast<unsigned>(passes));
  const std::size_t columns = std::min<std::size_t>(a.rows, kRows<T>) * kSplit<T>;
  const std::size_t staged = a.chunk * (kBlockInputs / 8) * columns * sizeof(uint4);
  grid.shared_bytes = std::max(staged, kWarps * kOutputs * kColumns * sizeof(float));
  cuda::launch("DenseInt4", grid,
               a.zero ? dense_int4_kernel<T, kScales, true> : dense_int4_kernel<T, kScales, false>,
               a);
}

template <class T>
void run_scales(const TiledInt4& a, unsigned scales, Stream stream) {
  if (scales == 4) return run_tiles<T, 4>(a, stream);
  if (scales == 2) return run_tiles<T, 2>(a, stream);
  run_tiles<T, 1>(a, stream);
}

void dense_tiles(const DeviceDenseInt4& d, const void* x, Number type, std::size_t rows, float* y,
                 Stream stream) {
  const std::size_t blocks = (d.inputs + kBlockInputs - 1) / kBlockInputs;
  TERSOR_CHECK(d.group == 0 || d.group == 32 || d.group == 64 || d.group % kBlockInputs == 0,
               "DenseInt4: group must be 0, 32, 64 or a multiple of 128, got ", d.group);
  const bool per_output = d.group == 0 || d.group >= d.inputs;
  const bool whole = per_output || d.group % kBlockInputs == 0;
  const unsigned scales = whole ? 1 : static_cast<unsigned>(kBlockInputs / d.group);
  TiledInt4 a = {};
  a.codes = d.codes;
  a.is_signed = d.is_signed;
  a.rows = rows;
  a.outputs = d.outputs;
  a.inputs = d.inputs;
  a.blocks = static_cast<unsigned>(blocks);
  a.chunk = std::min(a.blocks, kChunkBlocks);
  a.scale = d.scale;
  a.zero = d.zero_point;
  const std::size_t shared = per_output ? blocks : whole ? d.group / kBlockInputs : 1;
  a.pitch = whole ? (blocks + shared - 1) / shared : blocks * scales;
  a.by_scale = cuda::Divider(static_cast<std::uint32_t>(shared));
  a.x = x;
  a.vectors = cuda::aligned(x, 16) && d.inputs % 8 == 0;
  a.bias = d.bias;
  a.low = d.low;
  a.high = d.high;
  a.y = y;
  cuda::with_number(type, [&](auto number) { run_scales<decltype(number)>(a, scales, stream); });
}

}  // namespace

void dense_int4_cuda(const DeviceDenseInt4& d, const void* x, Number type, std::size_t rows,
                     float* y, Stream stream) {
  TERSOR_CHECK(d.inputs > 0 && d.inputs % 32 == 0 && d.inputs < std::size_t{1} << 31,
               "DenseInt4: inputs must be a multiple of 32, got ", d.inputs);
  if (rows == 0 || d.outputs == 0) return;
  if (d.tiled) return dense_tiles(d, x, type, rows, y, stream);
  const std::size_t group = d.group > 0 && d.group < d.inputs ? d.group : d.inputs;
  TERSOR_CHECK(group % 32 == 0, "DenseInt4: group must be a multiple of 32, got ", group);
  const cuda::Gemv a = {d.codes, x, type, rows, d.outputs, d.inputs, d.bias, d.low, d.high, y};
  const GroupDecode decode = {d.scale, d.zero_point,
                              cuda::Divider(static_cast<std::uint32_t>(group)),
                              (d.inputs + group - 1) / group, d.is_signed};
  cuda::gemv_int4("DenseInt4", a, decode, stream);
}

}  // namespace tersor::quantization
