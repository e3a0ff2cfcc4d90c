#include "tersor/runtime/strided_copy.h"

#include <algorithm>
#include <cstring>

namespace tersor::runtime {
namespace {

// 32 x 32 elements of 4 bytes: 4 KiB on each side, whole cache lines of both.
constexpr int64_t kTile = 32;

template <class T>
void copy_tile(const char* src, char* dst, int64_t rows, int64_t columns, int64_t row_from,
               int64_t row_to, int64_t column_from, int64_t column_to) {
  for (int64_t r = 0; r < rows; ++r) {
    const char* s = src + r * row_from;
    char* d = dst + r * row_to;
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(d + c * column_to, s + c * column_from, sizeof(T));
  }
}

template <class T>
void copy_tiles(const char* src, char* dst, int64_t rows, int64_t columns, int64_t row_from,
                int64_t row_to, int64_t column_from, int64_t column_to) {
  for (int64_t r = 0; r < rows; r += kTile) {
    for (int64_t c = 0; c < columns; c += kTile) {
      copy_tile<T>(src + r * row_from + c * column_from, dst + r * row_to + c * column_to,
                   std::min(kTile, rows - r), std::min(kTile, columns - c), row_from, row_to,
                   column_from, column_to);
    }
  }
}

}  // namespace

StridedCopy::StridedCopy(const Shape& sizes, const Shape& from, const Shape& to,
                         size_t element_bytes)
    : bytes_(element_bytes), elements_(element_count(sizes)) {
  const auto width = static_cast<int64_t>(element_bytes);
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 1) continue;
    const int64_t f = from[i] * width, t = to[i] * width;
    if (!sizes_.empty() && from_.back() == f * sizes[i] && to_.back() == t * sizes[i]) {
      sizes_.back() *= sizes[i];
      from_.back() = f;
      to_.back() = t;
    } else {
      sizes_.push_back(sizes[i]);
      from_.push_back(f);
      to_.push_back(t);
    }
  }
  const auto take = [&](size_t i, int64_t* size, int64_t* f, int64_t* t) {
    *size = sizes_[i];
    *f = from_[i];
    *t = to_[i];
    const auto at = static_cast<ptrdiff_t>(i);
    sizes_.erase(sizes_.begin() + at);
    from_.erase(from_.begin() + at);
    to_.erase(to_.begin() + at);
  };
  column_from_ = column_to_ = width;
  if (!sizes_.empty()) take(sizes_.size() - 1, &columns_, &column_from_, &column_to_);
  contiguous_ = column_from_ == width && column_to_ == width;
  if (sizes_.empty()) return;
  // Rows: the next dimension, or for a transposition the one along which the source is contiguous.
  size_t row = sizes_.size() - 1;
  for (size_t i = 0; !contiguous_ && i < sizes_.size(); ++i) {
    if (from_[i] == width) row = i;
  }
  take(row, &rows_, &row_from_, &row_to_);
}

void StridedCopy::run_inner(const char* src, char* dst) const {
  if (contiguous_) {
    const size_t run = static_cast<size_t>(columns_) * bytes_;
    for (int64_t r = 0; r < rows_; ++r) std::memcpy(dst + r * row_to_, src + r * row_from_, run);
    return;
  }
  const auto copy = bytes_ == 1   ? copy_tiles<uint8_t>
                    : bytes_ == 2 ? copy_tiles<uint16_t>
                    : bytes_ == 4 ? copy_tiles<uint32_t>
                                  : copy_tiles<uint64_t>;
  copy(src, dst, rows_, columns_, row_from_, row_to_, column_from_, column_to_);
}

void StridedCopy::run(const void* src, void* dst) const {
  if (elements_ == 0) return;
  const int64_t pieces = element_count(sizes_);
  for (int64_t p = 0; p < pieces; ++p) {
    int64_t from = 0, to = 0, rest = p;
    for (size_t i = sizes_.size(); i-- > 0;) {
      from += rest % sizes_[i] * from_[i];
      to += rest % sizes_[i] * to_[i];
      rest /= sizes_[i];
    }
    run_inner(static_cast<const char*>(src) + from, static_cast<char*>(dst) + to);
  }
}

}  // namespace tersor::runtime
