// Instruction sets: what this CPU has, which level is active, and how to force another.
//
// Kernels ask for feature bits; users ask for levels. A level is a set of bits: baseline (none),
// avx2, avxvnni, avx512, avx512vnni on x86-64; baseline, neon, neondot on 64-bit Arm. The active
// level is the highest that the CPU and the operating system support, unless TERSOR_ISA or
// force_isa names another.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "tersor/base/export.h"

namespace tersor {

using FeatureBits = std::uint32_t;

struct Feature {
  static constexpr FeatureBits none = 0;
  static constexpr FeatureBits sse42 = 1u << 0;
  static constexpr FeatureBits avx2 = 1u << 1;     // with FMA and F16C
  static constexpr FeatureBits avxvnni = 1u << 2;  // 256-bit VNNI, VEX encoded
  static constexpr FeatureBits avx512 = 1u << 3;   // F, BW, DQ, VL
  static constexpr FeatureBits avx512vnni = 1u << 4;
  static constexpr FeatureBits avx512bf16 = 1u << 5;
  static constexpr FeatureBits neon = 1u << 6;
  static constexpr FeatureBits neondot = 1u << 7;  // SDOT, UDOT
};

// What CPU and operating system can run; never changes.
TERSOR_API FeatureBits cpu_features();

// What kernels may use now: the bits of the active level that the CPU has. The first call reads
// TERSOR_ISA; ValueError (listing what this CPU supports) if it names an unknown or unsupported
// level.
TERSOR_API FeatureBits active_features();

// Name of the active level.
TERSOR_API std::string active_isa();

// Level names that this CPU can run, lowest first.
TERSOR_API std::vector<std::string> supported_isas();

// Makes a level active; "" returns to the default. Kernels already running are not affected. Meant
// for tests and benchmarks; not for use while another thread compiles a plan.
TERSOR_API void force_isa(const std::string& name);

// Names of the bits set in `bits`, lowest first, such as {"sse42", "avx2"}.
TERSOR_API std::vector<std::string> feature_names(FeatureBits bits);

namespace detail {
// Rises whenever the choice of kernels may have changed, so that a table can keep its last choice.
TERSOR_API extern std::atomic<std::uint32_t> dispatch_epoch;
}  // namespace detail

}  // namespace tersor
