// A plan ready to run: where each pointer comes from, and contexts to run it in.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "tersor/base/memory.h"
#include "tersor/runtime/plan.h"

namespace tersor::runtime {

// Bytes that a session holds, and the most that it ever held.
class MemoryMeter {
 public:
  void add(size_t bytes);
  void remove(size_t bytes) { current_ -= bytes; }
  size_t peak() const { return peak_; }

 private:
  std::atomic<size_t> current_{0};
  std::atomic<size_t> peak_{0};
};

// Everything that changes while a plan runs.
struct Context {
  Buffer memory;                    // arena, then scratch
  std::vector<void*> pointers;      // of all steps, inputs then outputs
  std::vector<const void*> inputs;  // the caller's, or staging
  std::vector<void*> outputs;       // the caller's
  std::vector<Buffer> staging;      // contiguous copies of strided inputs
};

class Program {
 public:
  Program(std::shared_ptr<const Plan> plan, std::shared_ptr<MemoryMeter> meter);
  ~Program();

  const Plan& plan() const { return *plan_; }

  // A context of this program, given back when the lease ends.
  class Lease {
   public:
    explicit Lease(const Program& program) : program_(program), context_(program.acquire()) {}
    ~Lease() { program_.release(std::move(context_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Context& operator*() { return *context_; }
    Context* operator->() { return context_.get(); }

   private:
    const Program& program_;
    std::unique_ptr<Context> context_;
  };

  // Runs the steps on context.inputs and context.outputs with at most as many threads as the plan
  // was made for, calling after(step) behind each one; step -1 comes before the first.
  template <class After>
  void run(Context& context, int threads, After&& after) const {
    connect(context);
    threads = std::min(threads, plan_->options.threads);
    after(-1);
    for (size_t s = 0; s < plan_->steps.size(); ++s) {
      run_step(context, s, threads);
      after(static_cast<int>(s));
    }
  }
  void run(Context& context, int threads) const {
    connect(context);
    threads = std::min(threads, plan_->options.threads);
    for (size_t s = 0; s < plan_->steps.size(); ++s) run_step(context, s, threads);
  }

  // Where an edge lies while the program runs in `context`.
  const void* address(const Context& context, int edge) const;

 private:
  // pointers[position] is input or output `index` of the caller.
  struct Patch {
    size_t position;
    size_t index;
  };

  std::unique_ptr<Context> acquire() const;
  void release(std::unique_ptr<Context> context) const;
  std::unique_ptr<Context> make_context() const;
  void connect(Context& context) const;
  void run_step(Context& context, size_t s, int threads) const {
    void* const* at = context.pointers.data() + begin_[s];
    plan_->steps[s].step->run({at, at + plan_->steps[s].inputs.size(),
                               context.memory.as<char>() + scratch_offset_, threads});
  }
  size_t context_bytes() const { return scratch_offset_ + plan_->scratch_bytes; }

  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<MemoryMeter> meter_;
  size_t scratch_offset_ = 0;
  std::vector<size_t> begin_;  // per step: its first pointer
  std::vector<Patch> input_patches_, output_patches_;
  std::vector<int> input_of_, output_of_;  // per root edge: which of the caller's, -1
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Context>> free_;
  mutable size_t contexts_ = 0;  // made so far
};

}  // namespace tersor::runtime
