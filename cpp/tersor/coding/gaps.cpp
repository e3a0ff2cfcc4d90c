#include "tersor/coding/gaps.h"

#include <algorithm>
#include <cstring>

#include "tersor/base/error.h"
#include "tersor/coding/blocks.h"
#include "tersor/coding/histogram.h"
#include "tersor/coding/mask.h"

namespace tersor::coding {
namespace {

constexpr size_t kHeadBytes = 3;
constexpr Method kValueMethods[] = {Method::packed, Method::huffman, Method::rans};

}  // namespace

std::vector<uint8_t> gaps_encode(const uint8_t* symbols, size_t count) {
  const Histogram counts = histogram(symbols, count);
  const auto common =
      static_cast<uint8_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  std::vector<int64_t> kept;
  std::vector<uint8_t> values;
  for (size_t i = 0; i < count; ++i) {
    if (symbols[i] == common) continue;
    kept.push_back(static_cast<int64_t>(i));
    values.push_back(symbols[i]);
  }
  const auto units = static_cast<int64_t>(count);
  const MaskForm form = smallest_mask(kept, units);
  const auto mask = encode_mask(kept, units, form);
  std::vector<uint8_t> out = {common, static_cast<uint8_t>(form.method), form.parameter};
  put_varint(kept.size(), out);
  put_varint(mask.size(), out);
  out.insert(out.end(), mask.begin(), mask.end());
  if (kept.empty()) return out;
  std::vector<uint8_t> best;
  for (const Method method : kValueMethods) {
    auto block = encode_block(method, values.data(), values.size(), {});
    block.insert(block.begin(), static_cast<uint8_t>(method));
    if (best.empty() || block.size() < best.size()) best = std::move(block);
  }
  out.insert(out.end(), best.begin(), best.end());
  return out;
}

void gaps_decode(const uint8_t* data, size_t size, uint8_t* symbols, size_t count) {
  if (size < kHeadBytes) throw ArtifactError("coding: a block ends early");
  const MaskForm form{static_cast<MaskMethod>(data[1]), data[2]};
  size_t at = kHeadBytes;
  const uint64_t kept_count = get_varint(data, size, at, count);
  const uint64_t mask_bytes = get_varint(data, size, at, size);
  if (mask_bytes > size - at) throw ArtifactError("coding: a block ends early");
  const auto kept = decode_mask(data + at, mask_bytes, static_cast<int64_t>(kept_count),
                                static_cast<int64_t>(count), form);
  at += mask_bytes;
  std::memset(symbols, data[0], count);
  if (kept.empty()) {
    if (at != size) throw ArtifactError("coding: a block ends late");
    return;
  }
  if (at == size) throw ArtifactError("coding: a block ends early");
  const auto method = static_cast<Method>(data[at]);
  if (std::find(std::begin(kValueMethods), std::end(kValueMethods), method) ==
      std::end(kValueMethods))
    throw ArtifactError("coding: values have an unknown method");
  std::vector<uint8_t> values(kept.size());
  decode_block(method, data + at + 1, size - at - 1, {}, values.data(), values.size());
  for (size_t i = 0; i < kept.size(); ++i) symbols[kept[i]] = values[i];
}

}  // namespace tersor::coding
