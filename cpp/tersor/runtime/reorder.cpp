#include "tersor/runtime/reorder.h"

#include <algorithm>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/affine.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/layout.h"

namespace tersor::runtime {
namespace {

// A change of layout is a transposition of each image, [rows, columns] -> [columns, rows].
struct Extents {
  int64_t images = 1;
  int64_t rows = 1;
  int64_t columns = 1;
};

// Rows and columns as `from` stores them: channels and pixels, or pixels and channels.
Extents extents_of(const PlanEdge& from, const PlanEdge& to) {
  const Shape& shape = from.shape;
  if (from.layout == to.layout || shape.size() < 3) return {1, 1, element_count(shape)};
  Extents e;
  e.images = shape[0];
  const int64_t channels = from.layout == Layout::row_major ? shape[1] : shape.back();
  const int64_t pixels =
      e.images * channels == 0 ? 0 : element_count(shape) / (e.images * channels);
  e.rows = from.layout == Layout::row_major ? channels : pixels;
  e.columns = from.layout == Layout::row_major ? pixels : channels;
  return e;
}

// The same for a permutation [0 .. p - 1, k .. rank - 1, p .. k - 1], axes of length 1 left out.
bool extents_of(const Shape& from, const graph::Ints& permutation, Extents& e) {
  graph::Ints axes;
  for (const int64_t axis : permutation) {
    if (from[static_cast<size_t>(axis)] != 1) axes.push_back(axis);
  }
  graph::Ints sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  const auto begin = std::mismatch(axes.begin(), axes.end(), sorted.begin());
  const auto prefix = begin.first - axes.begin();
  const auto turn = std::find(axes.begin() + prefix, axes.end(), *begin.second);
  std::rotate(axes.begin() + prefix, turn, axes.end());
  if (axes != sorted) return false;
  const auto product = [&](auto first, auto last) {
    int64_t n = 1;
    for (; first != last; ++first) n *= from[static_cast<size_t>(*first)];
    return n;
  };
  const auto rows = axes.begin() + prefix + (axes.end() - turn);
  e.images = product(axes.begin(), axes.begin() + prefix);
  e.rows = product(axes.begin() + prefix, rows);
  e.columns = product(rows, axes.end());
  return true;
}

// Elements of any size; those of 1 and 4 bytes, which all but tests use, have kernels.
template <class T>
void transpose(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t rows,
               int64_t columns) {
  if constexpr (sizeof(T) == 1) {
    transpose_bytes_table.pick()(src, src_stride, dst, dst_stride, rows, columns);
  } else if constexpr (sizeof(T) == 4) {
    transpose_words_table.pick()(src, src_stride, dst, dst_stride, rows, columns);
  } else {
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t r = 0; r < rows; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
    }
  }
}

class ReorderStep final : public Step {
 public:
  ReorderStep(const Extents& extents, const PlanEdge& from)
      : extents_(extents), element_bytes_(size_of(from.dtype)), constant_(from.constant) {}

  void run(const StepBuffers& buffers) const override {
    const void* src = constant_ ? constant_.data() : buffers.inputs[0];
    switch (element_bytes_) {
      case 1:
        return copy<uint8_t>(src, buffers.outputs[0]);
      case 2:
        return copy<uint16_t>(src, buffers.outputs[0]);
      case 4:
        return copy<uint32_t>(src, buffers.outputs[0]);
      default:
        return copy<uint64_t>(src, buffers.outputs[0]);
    }
  }
  std::string kernel() const override { return "reorder"; }

 private:
  template <class T>
  void copy(const void* from, void* to) const {
    const auto* src = static_cast<const T*>(from);
    auto* dst = static_cast<T*>(to);
    const int64_t size = extents_.rows * extents_.columns;
    if (extents_.rows == 1 || extents_.columns == 1) {
      std::memcpy(dst, src, static_cast<size_t>(extents_.images * size) * sizeof(T));
      return;
    }
    for (int64_t n = 0; n < extents_.images; ++n) {
      transpose(src + n * size, extents_.columns, dst + n * size, extents_.rows, extents_.rows,
                extents_.columns);
    }
  }

  Extents extents_;
  size_t element_bytes_;
  Tensor constant_;  // when `from` is one
};

// float32 [images, channels, pixels] to codes [images, pixels, channels].
class QuantizingReorderStep final : public Step {
 public:
  QuantizingReorderStep(const PlanEdge& from, const PlanEdge& to) : extents_(extents_of(from, to)) {
    scale_ = to.qparams->scale[0];
    zero_point_ = to.qparams->zero_point[0];
    low_ = to.qparams->code_min() - zero_point_;
    high_ = to.qparams->code_max() - zero_point_;
  }

  void run(const StepBuffers& buffers) const override {
    const auto* src = static_cast<const float*>(buffers.inputs[0]);
    auto* dst = static_cast<uint8_t*>(buffers.outputs[0]);
    const int64_t tiles = (extents_.columns + kTile - 1) / kTile;
    const int64_t size = extents_.rows * extents_.columns;
    // A tile of 3 x 1024 pixels takes about 1 us; fewer than 16 are not worth a second thread.
    const int threads = extents_.images * tiles < 16 ? 1 : buffers.threads;
    parallel_tasks(static_cast<size_t>(extents_.images * tiles), threads, [&](size_t task, int) {
      const int64_t n = static_cast<int64_t>(task) / tiles;
      const int64_t column = static_cast<int64_t>(task) % tiles * kTile;
      run_tile(src + n * size + column, dst + n * size + column * extents_.rows,
               std::min(kTile, extents_.columns - column));
    });
  }
  std::string kernel() const override { return "reorder + quantize"; }

 private:
  static constexpr int64_t kTile = 1024;    // pixels
  static constexpr int64_t kChannels = 16;  // at a time: 16 KiB of codes, half of a 32 KiB L1

  void run_tile(const float* src, uint8_t* dst, int64_t pixels) const {
    uint8_t codes[kChannels * kTile];
    for (int64_t c = 0; c < extents_.rows; c += kChannels) {
      const int64_t channels = std::min(kChannels, extents_.rows - c);
      for (int64_t i = 0; i < channels; ++i) {
        quantize(src + (c + i) * extents_.columns, codes + i * kTile, pixels);
      }
      transpose(codes, kTile, dst + c, extents_.rows, channels, pixels);
    }
  }

  void quantize(const float* x, uint8_t* codes, int64_t n) const {
    if (low_ + zero_point_ >= 0) return quantize_unsigned(x, codes, n);
    quantization::quantize_affine(x, reinterpret_cast<int8_t*>(codes),
                                  {1, 1, static_cast<size_t>(n)}, &scale_, &zero_point_,
                                  low_ + zero_point_, high_ + zero_point_);
  }

  void quantize_unsigned(const float* x, uint8_t* codes, int64_t n) const {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds half to even
    const auto low = static_cast<float>(low_), high = static_cast<float>(high_);
    for (int64_t i = 0; i < n; ++i) {
      float v = x[i] / scale_;
      v = v < low ? low : v;
      v = v > high ? high : v;
      v = v == v ? v : 0.0f;  // NaN
      codes[i] = static_cast<uint8_t>(static_cast<int32_t>((v + kRound) - kRound) + zero_point_);
    }
  }

  Extents extents_;
  float scale_;
  int32_t zero_point_;
  int32_t low_, high_;  // code_min and code_max, less the zero point
};

bool quantizes(const PlanEdge& from, const PlanEdge& to) {
  return from.dtype == DType::float32 && (to.dtype == DType::int8 || to.dtype == DType::uint8) &&
         to.qparams && to.qparams->per_tensor() && !from.constant;
}

}  // namespace

bool can_reorder(const PlanEdge& from, const PlanEdge& to) {
  if (from.dtype == to.dtype) return true;
  return quantizes(from, to) && from.layout == Layout::row_major &&
         to.layout == Layout::channels_last;
}

std::unique_ptr<Step> make_reorder_step(const PlanEdge& from, const PlanEdge& to) {
  TERSOR_CHECK(can_reorder(from, to), "reorder: to must have dtype ", name_of(from.dtype), ", got ",
               name_of(to.dtype));
  if (from.dtype == to.dtype) return std::make_unique<ReorderStep>(extents_of(from, to), from);
  return std::make_unique<QuantizingReorderStep>(from, to);
}

std::unique_ptr<Step> make_transpose_step(const PlanEdge& from, const graph::Ints& permutation) {
  Extents extents;
  if (moves_nothing(from.shape, permutation)) return nullptr;
  if (!extents_of(from.shape, permutation, extents)) return nullptr;
  return std::make_unique<ReorderStep>(extents, from);
}

}  // namespace tersor::runtime
