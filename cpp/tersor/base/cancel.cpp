#include "tersor/base/cancel.h"

#include <atomic>
#include <chrono>

#include "tersor/base/error.h"
#include "tersor/base/threads.h"

namespace tersor {
namespace {

// Asking takes the GIL in Python; a person does not notice 50 ms.
constexpr std::chrono::milliseconds kInterval{50};

std::atomic<CancelCallback> cancel_callback{nullptr};

}  // namespace

void set_cancel_callback(CancelCallback callback) {
  cancel_callback.store(callback, std::memory_order_release);
}

void check_cancelled() {
  const CancelCallback callback = cancel_callback.load(std::memory_order_acquire);
  if (!callback || on_pool_worker()) return;
  thread_local std::chrono::steady_clock::time_point last{};
  const auto now = std::chrono::steady_clock::now();
  if (now - last < kInterval) return;
  last = now;
  if (callback()) throw Cancelled("cancelled");
}

}  // namespace tersor
