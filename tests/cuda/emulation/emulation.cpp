// The scheduler of the host emulation: fibers, barriers, shared memory.
#include <ucontext.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"

namespace emulation {
namespace {

constexpr std::size_t kStack = 256 << 10;  // kernels are optimised: frames are small

enum class State { ready, warp, block, cluster, done };

struct Fiber {
  ucontext_t context;
  uint3 thread, block;
  State state;
  unsigned mask;
  unsigned parity;
};

struct Slot {
  const void* key;
  std::vector<std::uint64_t> memory;
};

struct Machine {
  std::vector<Fiber> fibers;  // block after block of a cluster
  std::vector<std::unique_ptr<char[]>> stacks;
  std::vector<std::uint64_t> exchanged;     // [warps][2][32]
  std::vector<std::vector<Slot>> shared;    // per block
  std::vector<std::vector<uint4>> dynamic;  // per block
  ucontext_t scheduler;
  Fiber* current = nullptr;
  const std::function<void()>* kernel = nullptr;
  std::size_t threads = 0;  // of a block

  std::size_t index() const { return static_cast<std::size_t>(current - fibers.data()); }
};

Machine machine;

void start() {
  (*machine.kernel)();
  machine.current->state = State::done;
  swapcontext(&machine.current->context, &machine.scheduler);
}

void resume(Fiber& fiber) {
  machine.current = &fiber;
  threadIdx = fiber.thread;
  blockIdx = fiber.block;
  swapcontext(&machine.scheduler, &fiber.context);
}

// Releases the group of fibers [first, last) if everybody of it waits; says whether it did.
bool release(std::size_t first, std::size_t last, State state) {
  bool any = false;
  for (std::size_t i = first; i < last; ++i) {
    const Fiber& f = machine.fibers[i];
    if (f.state != state && f.state != State::done) return false;
    any = any || f.state == state;
  }
  for (std::size_t i = first; i < last; ++i) {
    if (machine.fibers[i].state == state) machine.fibers[i].state = State::ready;
  }
  return any;
}

bool release_warp(std::size_t first, std::size_t last) {
  bool released = false;
  for (std::size_t i = first; i < last; ++i) {
    Fiber& f = machine.fibers[i];
    if (f.state != State::warp) continue;
    bool all = true;
    for (std::size_t k = 0; k < 32 && all; ++k) {
      if (!(f.mask >> k & 1)) continue;
      all = first + k < last && machine.fibers[first + k].state == State::warp &&
            machine.fibers[first + k].mask == f.mask;
    }
    if (!all) continue;
    const unsigned mask = f.mask;
    for (std::size_t k = 0; k < 32; ++k) {
      if (mask >> k & 1) machine.fibers[first + k].state = State::ready;
    }
    released = true;
  }
  return released;
}

void schedule(bool backward) {
  const std::size_t n = machine.fibers.size(), threads = machine.threads;
  for (;;) {
    bool alive = false, ran = false;
    for (std::size_t k = 0; k < n; ++k) {
      Fiber& f = machine.fibers[backward ? n - 1 - k : k];
      if (f.state == State::ready) {
        resume(f);
        ran = true;
      }
      alive = alive || f.state != State::done;
    }
    if (!alive) return;
    bool released = false;
    for (std::size_t b = 0; b < n; b += threads) {
      for (std::size_t w = 0; w < threads; w += 32) {
        released |= release_warp(b + w, b + std::min(w + 32, threads));
      }
      released |= release(b, b + threads, State::block);
    }
    released |= release(0, n, State::cluster);
    if (!released && !ran) {
      std::fprintf(stderr, "emulation: a barrier is not reached by all threads of its group\n");
      std::abort();
    }
  }
}

}  // namespace

void wait(Group group, unsigned mask) {
  Fiber& f = *machine.current;
  f.state = group == Group::warp    ? State::warp
            : group == Group::block ? State::block
                                    : State::cluster;
  f.mask = mask;
  swapcontext(&f.context, &machine.scheduler);
}

const std::uint64_t* exchange(unsigned mask, std::uint64_t value) {
  Fiber& f = *machine.current;
  // Two buffers: a lane may be one exchange ahead of one that has not read yet.
  f.parity ^= 1;
  const std::size_t block = machine.index() / machine.threads;
  const std::size_t warps = (machine.threads + 31) / 32;
  std::uint64_t* given =
      &machine.exchanged[((block * warps + f.thread.x / 32) * 2 + f.parity) * 32];
  given[f.thread.x % 32] = value;
  wait(Group::warp, mask);
  return given;
}

void* shared(const void* key, std::size_t bytes) {
  auto& slots = machine.shared[machine.index() / machine.threads];
  for (Slot& slot : slots) {
    if (slot.key == key) return slot.memory.data();
  }
  slots.push_back({key, std::vector<std::uint64_t>((bytes + 7) / 8, ~std::uint64_t{0})});
  return slots.back().memory.data();
}

void* dynamic_shared() { return machine.dynamic[machine.index() / machine.threads].data(); }

void run(dim3 grid, dim3 block, std::size_t shared_bytes, unsigned cluster,
         const std::function<void()>& kernel) {
  const char* order = std::getenv("TERSOR_EMULATION_ORDER");
  const bool backward = order && std::string(order) == "backward";
  if (grid.x % cluster != 0) {
    std::fprintf(stderr, "emulation: the grid must be whole clusters\n");
    std::abort();
  }
  machine.kernel = &kernel;
  machine.threads = block.x;
  blockDim = block;
  gridDim = grid;
  const std::size_t fibers = std::size_t{block.x} * cluster;
  machine.fibers.resize(fibers);
  while (machine.stacks.size() < fibers) {
    machine.stacks.push_back(std::unique_ptr<char[]>(new char[kStack]));
  }
  machine.exchanged.assign((block.x + 31) / 32 * 64 * std::size_t{cluster}, 0);
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; x += cluster) {
        machine.shared.assign(cluster, {});
        const unsigned ones = 0xffffffffu;
        machine.dynamic.assign(
            cluster, std::vector<uint4>((shared_bytes + 15) / 16, uint4{ones, ones, ones, ones}));
        for (std::size_t i = 0; i < fibers; ++i) {
          Fiber& f = machine.fibers[i];
          const auto rank = static_cast<unsigned>(i / block.x);
          f.thread = {static_cast<unsigned>(i % block.x), 0, 0};
          f.block = {x + rank, y, z};
          f.state = State::ready;
          f.parity = 0;
          getcontext(&f.context);
          f.context.uc_stack.ss_sp = machine.stacks[i].get();
          f.context.uc_stack.ss_size = kStack;
          f.context.uc_link = nullptr;
          makecontext(&f.context, start, 0);
        }
        schedule(backward);
      }
    }
  }
}

}  // namespace emulation
