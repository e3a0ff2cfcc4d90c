#include "tersor/base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tersor/base/error.h"

namespace tersor {
namespace {

constexpr int kMaxThreads = 1024;
// About 20 us of PAUSE on Zen 3 and 40 us on Intel since Skylake: longer than the gap between two
// layers, shorter than a scheduler quantum by two orders.
constexpr int kSpins = 1000;

void relax() {
#if TERSOR_X86
  __builtin_ia32_pause();
#elif TERSOR_ARM64
  __asm__ volatile("yield");
#endif
}

int read_number(const std::string& path, int otherwise) {
  std::ifstream file(path);
  int value;
  return file >> value ? value : otherwise;
}

// Cores, not hyper-threads: two threads on one core share the vector units that kernels keep busy.
int physical_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  std::set<std::pair<int, int>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    const std::string base = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    cores.emplace(read_number(base + "physical_package_id", 0), read_number(base + "core_id", cpu));
  }
  return std::clamp(static_cast<int>(cores.size()), 1, kMaxThreads);
}

int default_threads() {
  const char* text = std::getenv("TERSOR_THREADS");
  if (!text || !*text) return physical_cores();
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  TERSOR_CHECK(*end == '\0' && 1 <= n && n <= kMaxThreads,
               "TERSOR_THREADS: threads must be in [1, ", kMaxThreads, "], got '", text, "'");
  return static_cast<int>(n);
}

// One parallel region, on the caller's stack.
struct Job {
  detail::FunctionRef<void(int)> body;
  std::atomic<int> running;  // workers, without the caller
  std::atomic<bool> failed{false};
  std::exception_ptr error;  // written by the thread that set `failed`

  void run(int worker) noexcept {
    try {
      body(worker);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
};

thread_local bool in_region = false;
thread_local bool is_worker = false;

class Pool {
 public:
  // Runs body(0) here and body(1) ... body(count - 1) on the workers that come before body(0)
  // returns: each call takes tasks until there are none.
  void run(int count, Job& job) {
    while (static_cast<int>(workers_.size()) < count - 1 && start_worker()) {
    }
    count = std::min(count, static_cast<int>(workers_.size()) + 1);
    job.running.store(count - 1, std::memory_order_relaxed);
    for (int i = 0; i < count - 1; ++i) workers_[i]->start(&job);
    in_region = true;
    job.run(0);
    in_region = false;
    // The caller has run what there was. A worker that has not begun, asleep or without a core on a
    // busy machine, is not waited for.
    int idle = 0;
    for (int i = 0; i < count - 1; ++i) idle += workers_[i]->take_back(&job);
    job.running.fetch_sub(idle, std::memory_order_acq_rel);
    wait(job);
  }

  std::mutex in_use;

 private:
  struct Worker {
    alignas(64) std::atomic<Job*> job{nullptr};
    std::mutex mutex;
    std::condition_variable wake;
    bool asleep = false;

    void start(Job* next) {
      job.store(next, std::memory_order_seq_cst);
      const std::lock_guard lock(mutex);
      if (asleep) wake.notify_one();
    }
    // Claims the next job; the caller may have taken it back meanwhile.
    Job* next() {
      for (int i = 0; i < kSpins; ++i) {
        if (job.load(std::memory_order_relaxed)) {
          if (Job* found = claim()) return found;
        }
        relax();
      }
      std::unique_lock lock(mutex);
      asleep = true;
      Job* found = nullptr;
      wake.wait(lock, [&] { return (found = claim()) != nullptr; });
      asleep = false;
      return found;
    }
    Job* claim() { return job.exchange(nullptr, std::memory_order_acq_rel); }
    bool take_back(Job* offered) {
      return job.compare_exchange_strong(offered, nullptr, std::memory_order_acq_rel);
    }
  };

  // Detached: sleeping workers hold nothing, and the pool is never destroyed, so exit need not
  // wait. False where the system gives no more threads: the region then has fewer.
  bool start_worker() {
    auto worker = std::make_unique<Worker>();
    const int index = static_cast<int>(workers_.size()) + 1;
    try {
      std::thread([this, w = worker.get(), index] { loop(*w, index); }).detach();
    } catch (const std::system_error&) {
      return false;
    }
    workers_.push_back(std::move(worker));
    return true;
  }

  void loop(Worker& worker, int index) {
    in_region = is_worker = true;
    for (;;) {
      Job* job = worker.next();
      job->run(index);
      // The caller may return and destroy the job as soon as it reads 0: nothing of it is touched
      // after.
      if (job->running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        const std::lock_guard lock(done_mutex_);
        done_.notify_one();
      }
    }
  }

  void wait(Job& job) {
    const auto finished = [&] { return job.running.load(std::memory_order_acquire) == 0; };
    for (int i = 0; i < kSpins; ++i) {
      if (finished()) return;
      relax();
    }
    std::unique_lock lock(done_mutex_);
    done_.wait(lock, finished);
  }

  std::vector<std::unique_ptr<Worker>> workers_;
  std::mutex done_mutex_;
  std::condition_variable done_;
};

// Never destroyed: detached workers sleep on it until the process ends.
std::atomic<Pool*> the_pool{nullptr};
std::atomic<int> thread_limit{0};  // 0: default

Pool& pool() {
  if (Pool* found = the_pool.load(std::memory_order_acquire)) return *found;
  static std::once_flag registered;
  std::call_once(registered, [] {
    // The child has only the forking thread: it forgets the pool (whose locks another thread may
    // hold), and starts none unless set_threads asks for it.
    pthread_atfork(nullptr, nullptr, [] {
      the_pool.store(nullptr, std::memory_order_relaxed);
      thread_limit.store(1, std::memory_order_relaxed);
      in_region = is_worker = false;
    });
  });
  auto fresh = std::make_unique<Pool>();
  Pool* expected = nullptr;
  if (the_pool.compare_exchange_strong(expected, fresh.get())) return *fresh.release();
  return *expected;
}

// Runs body(worker) on up to `count` threads, or on this one alone where a pool cannot be had.
void run_region(int count, detail::FunctionRef<void(int)> body) {
  if (count <= 1 || in_region) return body(0);
  Pool& p = pool();
  const std::unique_lock lock(p.in_use, std::try_to_lock);
  if (!lock) return body(0);
  Job job{body, {}, {}, {}};
  p.run(count, job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace

int threads() {
  const int limit = thread_limit.load(std::memory_order_relaxed);
  if (limit > 0) return limit;
  static const int otherwise = default_threads();
  return otherwise;
}

void set_threads(int n) {
  TERSOR_CHECK(0 <= n && n <= kMaxThreads, "set_threads: n must be in [0, ", kMaxThreads, "], got ",
               n);
  thread_limit.store(n, std::memory_order_relaxed);
}

bool in_parallel_region() { return in_region; }
bool on_pool_worker() { return is_worker; }

void parallel_for(std::size_t n, std::size_t grain,
                  detail::FunctionRef<void(std::size_t, std::size_t)> fn) {
  if (n == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t most = std::max<std::size_t>(n / grain, 1);
  const std::size_t chunks = most == 1 ? 1 : std::min<std::size_t>(most, threads());
  if (chunks == 1 || in_region) return fn(0, n);
  const std::size_t step = grain >= 64 ? 64 : 1;
  const auto edge = [&](std::size_t i) { return i == chunks ? n : n / chunks * i / step * step; };
  parallel_tasks(chunks, static_cast<int>(chunks),
                 [&](std::size_t i, int) { fn(edge(i), edge(i + 1)); });
}

void parallel_tasks(std::size_t count, int max_threads,
                    detail::FunctionRef<void(std::size_t, int)> fn) {
  if (count == 0) return;
  TERSOR_CHECK(max_threads >= 0, "parallel_tasks: max_threads must be >= 0, got ", max_threads);
  const int limit = max_threads > 0 ? std::min(max_threads, kMaxThreads) : threads();
  const int workers = static_cast<int>(std::min<std::size_t>(count, limit));
  std::atomic<std::size_t> next{0};
  run_region(workers, [&](int worker) {
    for (;;) {
      const std::size_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= count) return;
      try {
        fn(task, worker);
      } catch (...) {
        next.store(count, std::memory_order_relaxed);  // the others take no further task
        throw;
      }
    }
  });
}

}  // namespace tersor
