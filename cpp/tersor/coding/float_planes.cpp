#include "tersor/coding/float_planes.h"

#include <array>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/base/threads.h"
#include "tersor/coding/blocks.h"

namespace tersor::coding {
namespace {

constexpr uint8_t kAsTheyAre = 255;
constexpr size_t kMostPlanes = 4;
constexpr size_t kGrain = 1 << 16;
// Coding a plane for less than this is not worth its time.
constexpr size_t kLeastSaving = 32;  // a part of its bytes

// Huffman codes of a few values decode sooner than anything else in small planes; there they may
// take this part more.
constexpr size_t kSmallPlane = 1 << 16, kMoreForHuffman = 50;

using Planes = std::array<const uint8_t*, kMostPlanes>;

template <class T>
constexpr int kBits = 8 * sizeof(T);

template <class T>
void cut(const T* values, size_t count, size_t plane, uint8_t* to) {
  for (size_t i = 0; i < count; ++i) {
    const auto rotated = static_cast<T>(values[i] << 1 | values[i] >> (kBits<T> - 1));
    to[i] = static_cast<uint8_t>(rotated >> (8 * plane));
  }
}

void join(const Planes& p, size_t begin, size_t end, uint16_t* values) {
  const uint8_t *a = p[0], *b = p[1];
  for (size_t i = begin; i < end; ++i) {
    const auto r = static_cast<uint16_t>(a[i] | b[i] << 8);
    values[i] = static_cast<uint16_t>(r >> 1 | r << 15);
  }
}

void join(const Planes& p, size_t begin, size_t end, uint32_t* values) {
  const uint8_t *a = p[0], *b = p[1], *c = p[2], *d = p[3];
  for (size_t i = begin; i < end; ++i) {
    const uint32_t r = static_cast<uint32_t>(a[i]) | static_cast<uint32_t>(b[i]) << 8 |
                       static_cast<uint32_t>(c[i]) << 16 | static_cast<uint32_t>(d[i]) << 24;
    values[i] = r >> 1 | r << 31;
  }
}

// Calls f with the values as unsigned integers of their width.
template <class F>
void as_integers(void* values, size_t item, const F& f) {
  TERSOR_CHECK(item == 2 || item == 4, "float planes: elements must have 2 or 4 bytes, got ", item);
  if (item == 2)
    f(static_cast<uint16_t*>(values));
  else
    f(static_cast<uint32_t*>(values));
}

std::vector<uint8_t> encode_quick(const std::vector<uint8_t>& plane, const Geometry& geometry) {
  auto coded = encode_smallest(plane.data(), plane.size(), geometry, Profile::fast);
  if (plane.size() > kSmallPlane) return coded;
  auto huffman = encode_symbols(plane.data(), plane.size(), geometry, Method::huffman);
  return huffman.size() <= coded.size() + coded.size() / kMoreForHuffman ? huffman : coded;
}

}  // namespace

std::vector<uint8_t> encode_floats(const void* values, size_t count, size_t item,
                                   const Geometry& geometry, Profile profile) {
  std::vector<uint8_t> plane(count), out;
  std::vector<std::vector<uint8_t>> coded(item);
  for (size_t p = 0; p < item; ++p) {
    as_integers(const_cast<void*>(values), item,
                [&](const auto* v) { cut(v, count, p, plane.data()); });
    coded[p] = encode_quick(plane, geometry);
    if (profile == Profile::small && coded[p].size() < count - count / kLeastSaving)
      coded[p] = encode_smallest(plane.data(), count, geometry, profile);
    if (coded[p].size() + count / kLeastSaving > count + 1) {
      coded[p].assign(1, kAsTheyAre);
      coded[p].insert(coded[p].end(), plane.begin(), plane.end());
    }
    if (p + 1 < item) put_varint(coded[p].size(), out);
  }
  for (const auto& c : coded) out.insert(out.end(), c.begin(), c.end());
  return out;
}

void decode_floats(const uint8_t* data, size_t size, size_t item, const Geometry& geometry,
                   void* values, size_t count) {
  std::array<size_t, kMostPlanes> sizes{};
  size_t at = 0, sum = 0;
  for (size_t p = 0; p + 1 < item; ++p) {
    sizes[p] = get_varint(data, size, at, size);
    sum += sizes[p];
  }
  if (sum > size - at) throw ArtifactError("coding: a plane ends early");
  sizes[item - 1] = size - at - sum;
  Planes planes{};
  std::array<Buffer, kMostPlanes> decoded;
  for (size_t p = 0; p < item; ++p) {
    const uint8_t* from = data + at;
    at += sizes[p];
    if (sizes[p] && *from == kAsTheyAre) {
      if (sizes[p] - 1 != count) throw ArtifactError("coding: a plane has the wrong size");
      planes[p] = from + 1;
      continue;
    }
    decoded[p] = Buffer(count);
    decode_symbols(from, sizes[p], geometry, decoded[p].as<uint8_t>(), count);
    planes[p] = decoded[p].as<uint8_t>();
  }
  as_integers(values, item, [&](auto* v) {
    parallel_for(count, kGrain, [&](size_t begin, size_t end) { join(planes, begin, end, v); });
  });
}

}  // namespace tersor::coding
