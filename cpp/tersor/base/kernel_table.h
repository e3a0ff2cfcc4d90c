// Kernel tables: one per operation, filled from the room's kernels.inc, asked by the door at run
// time.
//
// A room <room> has
//   kernels.inc   rows TERSOR_OP(stem, op) followed by TERSOR_KERNEL(stem, op, variant), best
//   first,
//                 ref last; a variant that this processor family lacks drops out by itself
//   kernels.h     includes the headers that define <op>_sig, then declares kernels and tables:
//                   #define TERSOR_KERNELS_ROOM <room>
//                   #define TERSOR_KERNELS_INC "tersor/<room>/kernels.inc"
//                   #include "tersor/base/declare_kernels.inc"
//   kernels.cpp   the same three lines with define_kernels.inc
// and the door calls <op>_table.pick()(...).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "tersor/base/export.h"
#include "tersor/base/isa.h"

// TERSOR_VARIANT_<variant>(F, op) calls F(op, suffix, needed feature bits) for each kernel of the
// variant.
#define TERSOR_VARIANT_ref(F, op) F(op, ref, ::tersor::Feature::none)
#if TERSOR_X86
#define TERSOR_VARIANT_sse42(F, op) F(op, sse42, ::tersor::Feature::sse42)
#define TERSOR_VARIANT_avx2(F, op) F(op, avx2, ::tersor::Feature::avx2)
#define TERSOR_VARIANT_avxvnni(F, op) F(op, avxvnni, ::tersor::Feature::avxvnni)
#define TERSOR_VARIANT_avx512(F, op) F(op, avx512, ::tersor::Feature::avx512)
#define TERSOR_VARIANT_avx512vnni(F, op) F(op, avx512vnni, ::tersor::Feature::avx512vnni)
#define TERSOR_VARIANT_avx512bf16(F, op) F(op, avx512bf16, ::tersor::Feature::avx512bf16)
#define TERSOR_VARIANT_simd_avx512(F, op) F(op, simd_avx512, ::tersor::Feature::avx512)
#define TERSOR_VARIANT_simd_avx2(F, op) F(op, simd_avx2, ::tersor::Feature::avx2)
#else
#define TERSOR_VARIANT_sse42(F, op)
#define TERSOR_VARIANT_avx2(F, op)
#define TERSOR_VARIANT_avxvnni(F, op)
#define TERSOR_VARIANT_avx512(F, op)
#define TERSOR_VARIANT_avx512vnni(F, op)
#define TERSOR_VARIANT_avx512bf16(F, op)
#define TERSOR_VARIANT_simd_avx512(F, op)
#define TERSOR_VARIANT_simd_avx2(F, op)
#endif
// <stem>_simd.cpp, one plain loop compiled per instruction set (cmake/instruction_sets.cmake):
// `simd` is all of them, for tables in which no other variant comes between.
#define TERSOR_VARIANT_simd_baseline(F, op) F(op, simd_baseline, ::tersor::Feature::none)
#define TERSOR_VARIANT_simd(F, op)                                  \
  TERSOR_VARIANT_simd_avx512(F, op) TERSOR_VARIANT_simd_avx2(F, op) \
      TERSOR_VARIANT_simd_baseline(F, op)
#if TERSOR_ARM64
#define TERSOR_VARIANT_neon(F, op) F(op, neon, ::tersor::Feature::neon)
#define TERSOR_VARIANT_neondot(F, op) F(op, neondot, ::tersor::Feature::neondot)
#else
#define TERSOR_VARIANT_neon(F, op)
#define TERSOR_VARIANT_neondot(F, op)
#endif

namespace tersor {

// One line of a table, as data.
struct KernelInfo {
  std::string room;
  std::string op;
  std::string variant;
  FeatureBits needed = 0;
  bool available = false;  // the CPU has the needed bits
  bool active = false;     // what pick() returns now
};

// The part of a table that does not depend on the signature. Tables live as long as the program and
// link themselves into one list.
class TERSOR_API KernelTableBase {
 public:
  struct Row {
    const char* variant = nullptr;
    FeatureBits needed = 0;
    void (*kernel)() = nullptr;
  };
  static constexpr std::size_t kMaxRows = 16;  // twelve variants exist today

  const char* room() const { return room_; }
  const char* op() const { return op_; }
  std::size_t size() const { return size_; }
  const Row& row(std::size_t i) const { return rows_[i]; }

  // Index of the row that pick() uses now.
  std::size_t active_row() const;
  // Index of the named row; ValueError listing the rows if there is none.
  std::size_t find(const std::string& variant) const;
  // Makes pick() return the named row whatever the level, "" for the normal choice. ValueError if
  // the CPU cannot run it.
  void force(const std::string& variant) const;

 protected:
  constexpr KernelTableBase(const char* room, const char* op) : room_(room), op_(op) {}
  void append(const Row& row);
  void enlist();

 private:
  friend TERSOR_API std::vector<const KernelTableBase*> kernel_tables();
  const char* room_;
  const char* op_;
  std::array<Row, kMaxRows> rows_{};
  std::size_t size_ = 0;
  mutable std::atomic<int> forced_{-1};
  const KernelTableBase* next_ = nullptr;
};

template <class Sig>
class KernelTable : public KernelTableBase {
 public:
  constexpr KernelTable(const char* room, const char* op) : KernelTableBase(room, op) {}

  // The first row whose bits are active. Cheap: the last choice is kept until the level changes.
  Sig* pick() const {
    const std::uint32_t epoch = detail::dispatch_epoch.load(std::memory_order_acquire);
    if (epoch_.load(std::memory_order_acquire) != epoch) [[unlikely]] {
      kernel_.store(at(active_row()), std::memory_order_relaxed);
      epoch_.store(epoch, std::memory_order_release);
    }
    return kernel_.load(std::memory_order_relaxed);
  }

  // A kernel by name, whether or not the CPU can run it.
  Sig* get(const std::string& variant) const { return at(find(variant)); }
  Sig* at(std::size_t i) const { return reinterpret_cast<Sig*>(row(i).kernel); }

  void add(const char* variant, FeatureBits needed, Sig* kernel) {
    append({variant, needed, reinterpret_cast<void (*)()>(kernel)});
  }
  using KernelTableBase::enlist;

 private:
  mutable std::atomic<Sig*> kernel_{nullptr};
  mutable std::atomic<std::uint32_t> epoch_{0};
};

// Every table of the library.
TERSOR_API std::vector<const KernelTableBase*> kernel_tables();
// Every row of every table, in the order of the tables and best first.
TERSOR_API std::vector<KernelInfo> kernel_rows();
// KernelTableBase::force by name; ValueError if there is no such table.
TERSOR_API void force_kernel(const std::string& room, const std::string& op,
                             const std::string& variant);

}  // namespace tersor
