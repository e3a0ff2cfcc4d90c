#include "tersor/coding/bit_packing.h"

#include <algorithm>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/coding/kernels.h"

namespace tersor::coding {
namespace {

constexpr size_t kGrain = 1 << 18;  // codes, some 20 us; a multiple of 8

void check_bits(const char* op, int bits) {
  TERSOR_CHECK(1 <= bits && bits <= 8, op, ": bits must be in [1, 8], got ", bits);
}

// Calls part(first code, number of codes) for parts that begin on whole bytes.
template <class Part>
void for_each_part(size_t count, const Part& part) {
  parallel_for((count + 7) / 8, kGrain / 8, [&](size_t begin, size_t end) {
    part(begin * 8, std::min(end * 8, count) - begin * 8);
  });
}

}  // namespace

void pack_bits(const uint8_t* codes, size_t count, int bits, uint8_t* packed) {
  check_bits("pack_bits", bits);
  const auto kernel = pack_bits_table.pick();
  for_each_part(count, [&](size_t first, size_t n) {
    kernel(codes + first, n, bits, packed + packed_size(first, bits));
  });
}

void unpack_bits(const uint8_t* packed, size_t count, int bits, bool is_signed, uint8_t* codes) {
  check_bits("unpack_bits", bits);
  const auto kernel = unpack_bits_table.pick();
  for_each_part(count, [&](size_t first, size_t n) {
    kernel(packed + packed_size(first, bits), n, bits, is_signed, codes + first);
  });
}

}  // namespace tersor::coding
