#include "tersor/base/isa.h"

#include <cstdlib>
#include <iterator>
#include <mutex>

#if TERSOR_X86
#include <cpuid.h>
#endif
#if TERSOR_ARM64
#include <sys/auxv.h>
#endif

#include "tersor/base/error.h"

namespace tersor {
namespace {

struct Level {
  const char* name;
  FeatureBits needed;   // the CPU must have all of these
  FeatureBits allowed;  // what kernels may use if the CPU has it
};

// avx512 stands for servers before VNNI, so it leaves 256-bit VNNI out; above it everything is
// allowed.
constexpr FeatureBits kAvx2 = Feature::sse42 | Feature::avx2;
constexpr FeatureBits kAvx512 = kAvx2 | Feature::avx512;
constexpr FeatureBits kAvx512Vnni = kAvx512 | Feature::avx512vnni;
constexpr Level kLevels[] = {
    {"baseline", Feature::none, Feature::none},
#if TERSOR_X86
    {"avx2", kAvx2, kAvx2},
    {"avxvnni", kAvx2 | Feature::avxvnni, kAvx2 | Feature::avxvnni},
    {"avx512", kAvx512, kAvx512},
    {"avx512vnni", kAvx512Vnni, kAvx512Vnni | Feature::avxvnni | Feature::avx512bf16},
#elif TERSOR_ARM64
    {"neon", Feature::neon, Feature::neon},
    {"neondot", Feature::neon | Feature::neondot, Feature::neon | Feature::neondot},
#endif
};
// Known everywhere, so that the message can tell a misspelled name from an unsupported one.
constexpr const char* kKnownLevels = "baseline, avx2, avxvnni, avx512, avx512vnni, neon, neondot";

#if TERSOR_X86
struct Registers {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

// Register files that the operating system saves on a context switch (Intel SDM vol. 1, 13.3).
std::uint64_t enabled_state() {
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

FeatureBits detect() {
  const auto bit = [](std::uint32_t word, int i) { return (word >> i & 1u) != 0; };
  const Registers one = cpuid(1, 0);
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = seven.a >= 1 ? cpuid(7, 1) : Registers{};
  FeatureBits bits = 0;
  if (bit(one.c, 20)) bits |= Feature::sse42;
  const bool osxsave = bit(one.c, 27);
  const std::uint64_t state = osxsave ? enabled_state() : 0;
  const bool ymm = (state & 0x06) == 0x06;  // XMM and YMM
  const bool zmm = (state & 0xE6) == 0xE6;  // and opmask, ZMM
  const bool fma = bit(one.c, 12), f16c = bit(one.c, 29), avx = bit(one.c, 28);
  if (!ymm || !avx || !fma || !f16c || !bit(seven.b, 5)) return bits;
  bits |= Feature::avx2;
  if (bit(seven_one.a, 4)) bits |= Feature::avxvnni;
  const bool f = bit(seven.b, 16), dq = bit(seven.b, 17), bw = bit(seven.b, 30),
             vl = bit(seven.b, 31);
  if (!zmm || !f || !dq || !bw || !vl) return bits;
  bits |= Feature::avx512;
  if (bit(seven.c, 11)) bits |= Feature::avx512vnni;
  if (bit(seven_one.a, 5)) bits |= Feature::avx512bf16;
  return bits;
}
#elif TERSOR_ARM64
FeatureBits detect() {
  constexpr unsigned long kHwcapAsimdDp = 1ul << 20;  // asm/hwcap.h, absent from old C libraries
  FeatureBits bits = Feature::neon;                   // part of the 64-bit architecture
  if (getauxval(AT_HWCAP) & kHwcapAsimdDp) bits |= Feature::neondot;
  return bits;
}
#else
FeatureBits detect() { return 0; }
#endif

bool supported(const Level& level) { return (level.needed & ~cpu_features()) == 0; }

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

const Level* find_level(const std::string& source, const std::string& name) {
  for (const Level& level : kLevels) {
    if (name == level.name && supported(level)) return &level;
  }
  throw ValueError(message(source, ": instruction set must be one of {", join(supported_isas()),
                           "} on this CPU, got '", name, "' (known: ", kKnownLevels, ")"));
}

const Level* best_level() {
  const Level* best = &kLevels[0];
  for (const Level& level : kLevels) {
    if (supported(level)) best = &level;
  }
  return best;
}

const Level* default_level() {
  const char* name = std::getenv("TERSOR_ISA");
  return name && *name ? find_level("TERSOR_ISA", name) : best_level();
}

std::atomic<const Level*> forced_level{nullptr};

const Level* active_level() {
  if (const Level* level = forced_level.load(std::memory_order_acquire)) return level;
  // Throws again on every call until the variable names a level: a static that throws is not set.
  static const Level* const level = default_level();
  return level;
}

}  // namespace

namespace detail {
std::atomic<std::uint32_t> dispatch_epoch{1};
}

FeatureBits cpu_features() {
  static const FeatureBits bits = detect();
  return bits;
}

FeatureBits active_features() { return active_level()->allowed & cpu_features(); }

std::string active_isa() { return active_level()->name; }

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const Level& level : kLevels) {
    if (supported(level)) names.emplace_back(level.name);
  }
  return names;
}

void force_isa(const std::string& name) {
  forced_level.store(name.empty() ? nullptr : find_level("force_isa", name),
                     std::memory_order_release);
  detail::dispatch_epoch.fetch_add(1, std::memory_order_acq_rel);
}

std::vector<std::string> feature_names(FeatureBits bits) {
  constexpr const char* kNames[] = {"sse42",      "avx2",       "avxvnni", "avx512",
                                    "avx512vnni", "avx512bf16", "neon",    "neondot"};
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (bits >> i & 1u) names.emplace_back(kNames[i]);
  }
  return names;
}

}  // namespace tersor
