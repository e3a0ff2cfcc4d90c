#include "tersor/coding/huffman.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "tersor/coding/symbol_range.h"

namespace tersor::coding {
namespace {

constexpr int kMostBits = 11;  // a table of 8 KiB, which leaves room in L1
constexpr int kFirstLength = 4;
constexpr int kStreamSizeOrder = 10;
constexpr size_t kFourStreams = 2048;  // symbols from which on the sizes of four streams pay

using Lengths = std::array<uint8_t, 256>;
using Codes = std::array<uint16_t, 256>;

// The best lengths of at most kMostBits. Of the list of a level, whose entries are leaves and pairs
// of the entries of the level below, the first 2 n - 2 of the top are taken; each leaf taken adds a
// bit.
Lengths code_lengths(const Histogram& counts) {
  std::vector<int> leaves;
  for (int s = 0; s < 256; ++s) {
    if (counts[static_cast<size_t>(s)]) leaves.push_back(s);
  }
  const auto weight = [&](int s) { return counts[static_cast<size_t>(s)]; };
  std::stable_sort(leaves.begin(), leaves.end(),
                   [&](int a, int b) { return weight(a) < weight(b); });
  std::array<std::vector<bool>, kMostBits> is_leaf;
  std::vector<uint64_t> below;
  for (auto& level : is_leaf) {
    std::vector<uint64_t> list;
    size_t leaf = 0, pair = 0;
    while (leaf < leaves.size() || pair + 1 < below.size()) {
      const bool pairs_left = pair + 1 < below.size();
      const bool take_leaf = leaf < leaves.size() &&
                             (!pairs_left || weight(leaves[leaf]) <= below[pair] + below[pair + 1]);
      list.push_back(take_leaf ? weight(leaves[leaf++]) : below[pair] + below[pair + 1]);
      if (!take_leaf) pair += 2;
      level.push_back(take_leaf);
    }
    below = std::move(list);
  }
  Lengths lengths{};
  size_t taken = 2 * leaves.size() - 2;
  for (int level = kMostBits - 1; level >= 0 && taken; --level) {
    const auto& list = is_leaf[static_cast<size_t>(level)];
    const auto n = static_cast<size_t>(
        std::count(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(taken), true));
    for (size_t i = 0; i < n; ++i) ++lengths[static_cast<size_t>(leaves[i])];
    taken = 2 * (taken - n);
  }
  return lengths;
}

uint16_t reversed(uint32_t code, int bits) {
  uint32_t out = 0;
  for (int i = 0; i < bits; ++i) out |= (code >> i & 1) << (bits - 1 - i);
  return static_cast<uint16_t>(out);
}

// Codes with their first bit lowest. ArtifactError unless they fill the space exactly.
Codes canonical_codes(const Lengths& lengths) {
  Codes codes{};
  uint32_t next = 0;
  for (int bits = 1; bits <= kMostBits; ++bits) {
    next <<= 1;
    for (size_t s = 0; s < 256; ++s) {
      if (lengths[s] == bits) codes[s] = reversed(next++, bits);
    }
    if (next > 1u << bits) throw ArtifactError("coding: a Huffman code has too many symbols");
  }
  if (next != 1u << kMostBits) throw ArtifactError("coding: a Huffman code has too few symbols");
  return codes;
}

uint32_t zigzag(int v) { return static_cast<uint32_t>(v < 0 ? -2 * v - 1 : 2 * v); }
int unzigzag(uint32_t v) { return v & 1 ? -static_cast<int>(v / 2) - 1 : static_cast<int>(v / 2); }

void put_lengths(const Lengths& lengths, size_t low, size_t high, int k, BitWriter& out) {
  int last = kFirstLength;
  for (size_t s = low; s <= high; ++s) {
    out.put_exp_golomb(lengths[s] ? 1 + zigzag(lengths[s] - last) : 0, k);
    if (lengths[s]) last = lengths[s];
  }
}

Lengths get_lengths(size_t low, size_t high, int k, BitReader& in) {
  Lengths lengths{};
  int last = kFirstLength;
  for (size_t s = low; s <= high; ++s) {
    const uint32_t v = in.get_exp_golomb(k);
    if (v == 0) continue;
    if (v > 4 * kMostBits) throw ArtifactError("coding: a Huffman code has a wrong length");
    last += unzigzag(v - 1);
    if (last < 1 || last > kMostBits)
      throw ArtifactError("coding: a Huffman code has a wrong length");
    lengths[s] = static_cast<uint8_t>(last);
  }
  return lengths;
}

int best_order(const Lengths& lengths, size_t low, size_t high) {
  int best = 0;
  size_t least = SIZE_MAX;
  for (int k = 0; k < 4; ++k) {
    BitWriter trial;
    put_lengths(lengths, low, high, k, trial);
    if (trial.bits() < least) {
      least = trial.bits();
      best = k;
    }
  }
  return best;
}

// The symbols of each stream: [first, first of the next).
std::array<size_t, 5> stream_starts(size_t count, bool four) {
  if (!four) return {0, count, count, count, count};
  const size_t quarter = (count + 3) / 4;
  return {0, quarter, 2 * quarter, 3 * quarter, count};
}

// What the next kMostBits bits begin with, one symbol, or two where both fit: bits of what it
// holds, how many symbols, the symbols, from the lowest byte on. Entries of a few steps add up in
// their low bytes without a carry.
using Table = std::array<uint32_t, size_t{1} << kMostBits>;

constexpr uint32_t entry(size_t bits, size_t count, uint32_t symbols) {
  return static_cast<uint32_t>(bits | count << 8) | symbols << 16;
}

void fill_table(const Lengths& lengths, const Codes& codes, Table& table) {
  for (size_t s = 0; s < 256; ++s) {
    if (!lengths[s]) continue;
    const uint32_t e = entry(lengths[s], 1, static_cast<uint32_t>(s));
    for (size_t i = codes[s]; i < table.size(); i += size_t{1} << lengths[s]) table[i] = e;
  }
  // Descending: the entry of what follows has a smaller index, or is the same one, and is not yet a
  // pair.
  for (size_t i = table.size(); i-- > 0;) {
    const uint32_t first = table[i], bits = first & 255, next = table[i >> bits];
    const uint32_t all = bits + (next & 255);
    if (all <= kMostBits) table[i] = entry(all, 2, (first >> 16 & 255) | (next >> 16 & 255) << 8);
  }
}

struct Stream {
  const uint8_t* bytes;
  size_t size;
  size_t at = 0;  // bit
  uint8_t* to;
  uint8_t* end;

  bool fast() const { return at / 8 + 8 <= size && end - to >= 10; }

  // Five steps of at most 11 bits, of the 57 or more that one load has.
  [[gnu::always_inline]] void five(const Table& table) {
    uint64_t word;
    std::memcpy(&word, bytes + at / 8, 8);
    word >>= at % 8;
    uint32_t sum = 0;
    for (int i = 0; i < 5; ++i) {
      const uint32_t e = table[word & (table.size() - 1)];
      const auto symbols = static_cast<uint16_t>(e >> 16);
      std::memcpy(to + (sum >> 8), &symbols, 2);
      word >>= e & 63;
      sum += e & 0xFFFF;
    }
    to += sum >> 8;
    at += sum & 255;
  }

  void finish(const Table& table, const Lengths& lengths) {
    while (to < end) {
      uint64_t word = 0;
      const size_t first = at / 8, n = std::min<size_t>(4, first < size ? size - first : 0);
      if (n) std::memcpy(&word, bytes + first, n);
      *to = static_cast<uint8_t>(table[(word >> (at % 8)) & (table.size() - 1)] >> 16);
      at += lengths[*to++];
      if (at > 8 * size) throw ArtifactError("coding: a Huffman stream ends early");
    }
    if (8 * size - at >= 8) throw ArtifactError("coding: a Huffman stream ends late");
    if (at % 8 && bytes[size - 1] >> (at % 8)) throw ArtifactError("coding: unused bits must be 0");
  }
};

// Copies, which the bytes that are written cannot alias.
void decode_side_by_side(std::array<Stream, 4>& streams, const Table& table) {
  Stream a = streams[0], b = streams[1], c = streams[2], d = streams[3];
  while (a.fast() && b.fast() && c.fast() && d.fast()) {
    a.five(table);
    b.five(table);
    c.five(table);
    d.five(table);
  }
  streams = {a, b, c, d};
}

}  // namespace

std::vector<uint8_t> huffman_encode(const uint8_t* symbols, size_t count) {
  const Histogram counts = histogram(symbols, count);
  const SymbolRange range = SymbolRange::of(counts);
  BitWriter head;
  range.put(head);
  if (range.single()) return head.finish();
  const auto [low, high] = range;
  const Lengths lengths = code_lengths(counts);
  const Codes codes = canonical_codes(lengths);
  const int k = best_order(lengths, low, high);
  const bool four = count >= kFourStreams;
  head.put(static_cast<uint64_t>(k), 2);
  head.put(four, 1);
  put_lengths(lengths, low, high, k, head);
  const auto start = stream_starts(count, four);
  std::vector<uint8_t> body;
  for (size_t stream = 0; stream < (four ? 4u : 1u); ++stream) {
    BitWriter out;
    for (size_t i = start[stream]; i < start[stream + 1]; ++i)
      out.put(codes[symbols[i]], lengths[symbols[i]]);
    const auto bytes = out.finish();
    if (four && stream < 3)
      head.put_exp_golomb(static_cast<uint32_t>(bytes.size()), kStreamSizeOrder);
    body.insert(body.end(), bytes.begin(), bytes.end());
  }
  auto block = head.finish();
  block.insert(block.end(), body.begin(), body.end());
  return block;
}

void huffman_decode(const uint8_t* data, size_t size, uint8_t* symbols, size_t count) {
  BitReader head(data, size);
  const auto [low, high] = SymbolRange::get(head);
  if (low == high) {
    head.finish();
    std::memset(symbols, static_cast<int>(low), count);
    return;
  }
  const int k = static_cast<int>(head.get(2));
  const bool four = head.bit();
  const Lengths lengths = get_lengths(low, high, k, head);
  Table table;
  fill_table(lengths, canonical_codes(lengths), table);
  std::array<size_t, 4> sizes{};
  for (size_t i = 0; four && i < 3; ++i) sizes[i] = head.get_exp_golomb(kStreamSizeOrder);
  size_t at = head.align();
  const auto start = stream_starts(count, four);
  if (four && (sizes[0] + sizes[1] + sizes[2] > size - at || start[3] > count))
    throw ArtifactError("coding: a Huffman stream ends early");
  std::array<Stream, 4> streams{};
  for (size_t i = 0; i < 4; ++i) {
    const size_t bytes = !four ? (i == 0 ? size - at : 0) : i == 3 ? size - at : sizes[i];
    streams[i] = {data + at, bytes, 0, symbols + start[i], symbols + start[i + 1]};
    at += bytes;
  }
  decode_side_by_side(streams, table);
  for (Stream& s : streams) {
    while (s.fast()) s.five(table);
    s.finish(table, lengths);
  }
}

}  // namespace tersor::coding
