#include "tersor/base/kernel_table.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tersor/base/error.h"

namespace tersor {
namespace {

// Constant-initialised: tables enlist themselves from other files' static constructors.
constinit const KernelTableBase* first_table = nullptr;

}  // namespace

void KernelTableBase::append(const Row& row) {
  if (size_ == kMaxRows) std::abort();  // while loading: a table in the source is too long
  rows_[size_++] = row;
}

void KernelTableBase::enlist() {
  next_ = first_table;
  first_table = this;
}

std::size_t KernelTableBase::active_row() const {
  const int forced = forced_.load(std::memory_order_acquire);
  if (forced >= 0) return static_cast<std::size_t>(forced);
  const FeatureBits features = active_features();
  for (std::size_t i = 0; i < size_; ++i) {
    if ((rows_[i].needed & ~features) == 0) return i;
  }
  throw UnsupportedError(message(op_, ": no kernel for the active instruction set"));
}

std::size_t KernelTableBase::find(const std::string& variant) const {
  std::string names;
  for (std::size_t i = 0; i < size_; ++i) {
    if (variant == rows_[i].variant) return i;
    names += (i ? ", " : "") + std::string(rows_[i].variant);
  }
  throw ValueError(message(op_, ": variant must be one of {", names, "}, got '", variant, "'"));
}

void KernelTableBase::force(const std::string& variant) const {
  int index = -1;
  if (!variant.empty()) {
    index = static_cast<int>(find(variant));
    TERSOR_CHECK((rows_[index].needed & ~cpu_features()) == 0, op_,
                 ": variant must be supported by this CPU, got '", variant, "'");
  }
  forced_.store(index, std::memory_order_release);
  detail::dispatch_epoch.fetch_add(1, std::memory_order_acq_rel);
}

std::vector<const KernelTableBase*> kernel_tables() {
  std::vector<const KernelTableBase*> tables;
  for (const KernelTableBase* t = first_table; t; t = t->next_) tables.push_back(t);
  // The link order of files says nothing; names do.
  std::sort(tables.begin(), tables.end(), [](const auto* a, const auto* b) {
    const int rooms = std::strcmp(a->room(), b->room());
    return rooms != 0 ? rooms < 0 : std::strcmp(a->op(), b->op()) < 0;
  });
  return tables;
}

std::vector<KernelInfo> kernel_rows() {
  std::vector<KernelInfo> rows;
  for (const KernelTableBase* table : kernel_tables()) {
    const std::size_t active = table->active_row();
    for (std::size_t i = 0; i < table->size(); ++i) {
      const KernelTableBase::Row& row = table->row(i);
      rows.push_back({table->room(), table->op(), row.variant, row.needed,
                      (row.needed & ~cpu_features()) == 0, i == active});
    }
  }
  return rows;
}

void force_kernel(const std::string& room, const std::string& op, const std::string& variant) {
  for (const KernelTableBase* table : kernel_tables()) {
    if (room == table->room() && op == table->op()) return table->force(variant);
  }
  throw ValueError(
      message("force_kernel: op must be in a kernel table, got '", room, "/", op, "'"));
}

}  // namespace tersor
