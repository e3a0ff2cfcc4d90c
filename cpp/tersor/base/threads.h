// The library's thread pool: a few coarse pieces of work, never a barrier inside a kernel.
//
// Workers spin for about 20 us after a piece of work, then sleep. A call from inside a parallel
// region, or while another thread uses the pool, runs on its own thread alone; results must not
// depend on the number of threads, so that changes nothing but time. An exception of one piece ends
// the others early and is rethrown to the caller. A forked child starts with one thread and without
// the parent's pool.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "tersor/base/export.h"

namespace tersor {

// Threads that a parallel region may use, the caller included. The default is the number of
// physical cores in the affinity mask, or TERSOR_THREADS.
TERSOR_API int threads();

// Sets it; 0 restores the default. ValueError if n < 0 or n > 1024.
TERSOR_API void set_threads(int n);

// True inside a parallel region, where nested regions run serially.
TERSOR_API bool in_parallel_region();

// True on a thread of the pool, false on the thread that called parallel_for or parallel_tasks.
TERSOR_API bool on_pool_worker();

namespace detail {

// A reference to a callable that outlives the call: std::function without the allocation.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
      FunctionRef(F&& f)  // NOLINT: implicit, so that lambdas can be passed
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

}  // namespace detail

// Calls fn(begin, end) for contiguous chunks that cover [0, n), one per thread at most, each of
// `grain` elements or more (but for n < grain). Chunks start at multiples of 64 elements when grain
// >= 64, so that no two threads write one cache line.
TERSOR_API void parallel_for(std::size_t n, std::size_t grain,
                             detail::FunctionRef<void(std::size_t, std::size_t)> fn);

// Calls fn(task, worker) once for each task in [0, count). Up to max_threads threads (0: threads())
// take tasks in ascending order; `worker` in [0, that number) names the thread and may select its
// scratch memory. The calling thread is worker 0.
TERSOR_API void parallel_tasks(std::size_t count, int max_threads,
                               detail::FunctionRef<void(std::size_t, int)> fn);

}  // namespace tersor
