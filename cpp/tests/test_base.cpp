// Errors, instruction sets, kernel tables, threads, memory, random numbers, CRC, cancellation.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <thread>

#include "check.h"
#include "tersor/base/cancel.h"
#include "tersor/base/config.h"
#include "tersor/base/crc32c.h"
#include "tersor/base/error.h"
#include "tersor/base/isa.h"
#include "tersor/base/kernel_table.h"
#include "tersor/base/memory.h"
#include "tersor/base/random.h"
#include "tersor/base/threads.h"

TEST(error_message_names_the_value) {
  const auto check_bits = [](int bits) {
    TERSOR_CHECK(0 < bits && bits <= 8, "op: bits must be in [1, 8], got ", bits);
  };
  check_bits(8);
  EXPECT_THROWS(tersor::ValueError, "op: bits must be in [1, 8], got 9", check_bits(9));
  EXPECT_THROWS(tersor::Error, "9", check_bits(9));
  EXPECT_THROWS(tersor::ValueError, "node", throw tersor::GraphError("node"));
}

TEST(isa_levels) {
  const auto levels = tersor::supported_isas();
  EXPECT(!levels.empty() && levels.front() == "baseline");
  const std::string active = tersor::active_isa();
  EXPECT(std::find(levels.begin(), levels.end(), active) != levels.end());
  EXPECT((tersor::active_features() & ~tersor::cpu_features()) == 0);
  EXPECT(active != "baseline" || tersor::active_features() == 0);
  EXPECT_THROWS(tersor::ValueError, "force_isa: instruction set must be one of {baseline",
                tersor::force_isa("avx9"));
  EXPECT(tersor::active_isa() == active);
}

TEST(kernel_tables_end_with_ref) {
  const auto tables = tersor::kernel_tables();
  EXPECT(!tables.empty());
  for (const auto* table : tables) {
    EXPECT(table->size() > 0);
    EXPECT(std::string(table->row(table->size() - 1).variant) == "ref");
    EXPECT(table->row(table->size() - 1).needed == 0);
    const std::size_t active = table->active_row();
    EXPECT((table->row(active).needed & ~tersor::active_features()) == 0);
  }
}

TEST(kernel_force) {
  for (const tersor::KernelInfo& row : tersor::kernel_rows()) {
    if (!row.available) {
      EXPECT_THROWS(tersor::ValueError, "supported by this CPU",
                    tersor::force_kernel(row.room, row.op, row.variant));
      continue;
    }
    tersor::force_kernel(row.room, row.op, row.variant);
    const auto rows = tersor::kernel_rows();
    EXPECT(std::any_of(rows.begin(), rows.end(), [&](const auto& r) {
      return r.room == row.room && r.op == row.op && r.variant == row.variant && r.active;
    }));
    tersor::force_kernel(row.room, row.op, "");
  }
  EXPECT_THROWS(tersor::ValueError, "variant must be one of {",
                tersor::force_kernel("base", "crc32c", "avx9"));
  EXPECT_THROWS(tersor::ValueError, "got 'base/nothing'",
                tersor::force_kernel("base", "nothing", "ref"));
}

TEST(parallel_for_covers_each_element_once) {
  for (const int n_threads : {1, 2, 3, 8}) {
    tersor::set_threads(n_threads);
    for (const std::size_t n : {0, 1, 63, 64, 65, 1000, 100'000}) {
      for (const std::size_t grain : {1, 64, 1000}) {
        std::vector<int> seen(n, 0);
        std::atomic<int> chunks{0};
        tersor::parallel_for(n, grain, [&](std::size_t begin, std::size_t end) {
          ++chunks;
          for (std::size_t i = begin; i < end; ++i) ++seen[i];
        });
        EXPECT(std::all_of(seen.begin(), seen.end(), [](int v) { return v == 1; }));
        EXPECT(chunks <= n_threads);
      }
    }
  }
  tersor::set_threads(0);
}

TEST(parallel_tasks_name_their_worker) {
  tersor::set_threads(4);
  std::vector<std::atomic<int>> seen(1000);
  std::atomic<bool> in_range{true};
  std::vector<int> busy(3, 0);  // one writer per slot, or the sanitizer complains
  tersor::parallel_tasks(seen.size(), 3, [&](std::size_t task, int worker) {
    if (worker < 0 || worker >= 3) in_range = false;
    ++busy[worker];
    ++seen[task];
  });
  EXPECT(in_range);
  EXPECT(std::all_of(seen.begin(), seen.end(), [](const auto& v) { return v == 1; }));
  EXPECT(std::accumulate(busy.begin(), busy.end(), 0) == 1000);
  tersor::set_threads(0);
}

TEST(parallel_regions_nest_serially) {
  tersor::set_threads(2);
  std::atomic<int> inner{0};
  EXPECT(!tersor::in_parallel_region());
  tersor::parallel_tasks(8, 0, [&](std::size_t, int) {
    const auto self = std::this_thread::get_id();
    tersor::parallel_tasks(4, 0, [&](std::size_t, int worker) {
      if (worker == 0 && std::this_thread::get_id() == self) ++inner;
    });
  });
  EXPECT(inner == 32);
  tersor::set_threads(0);
}

TEST(parallel_exceptions_reach_the_caller) {
  tersor::set_threads(3);
  for (int bad = 0; bad < 20; ++bad) {
    EXPECT_THROWS(tersor::ValueError, "task",
                  tersor::parallel_tasks(20, 0, [&](std::size_t t, int) {
                    if (static_cast<int>(t) == bad) throw tersor::ValueError("task failed");
                  }));
  }
  int sum = 0;  // the pool works afterwards
  tersor::parallel_for(1, 1, [&](std::size_t, std::size_t end) { sum += static_cast<int>(end); });
  EXPECT(sum == 1);
  tersor::set_threads(0);
}

TEST(parallel_calls_from_several_threads) {
  tersor::set_threads(2);
  std::atomic<std::size_t> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        tersor::parallel_for(1000, 10, [&](std::size_t b, std::size_t e) { total += e - b; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(total == 4u * 200u * 1000u);
  tersor::set_threads(0);
}

TEST(set_threads_rejects) {
  EXPECT_THROWS(tersor::ValueError, "set_threads: n must be in [0, 1024], got -1",
                tersor::set_threads(-1));
  EXPECT_THROWS(tersor::ValueError, "got 1025", tersor::set_threads(1025));
  EXPECT(tersor::threads() >= 1);
}

TEST(fork_while_the_pool_is_busy) {
  tersor::set_threads(2);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) tersor::parallel_for(1000, 1, [](std::size_t, std::size_t) {});
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(10);  // a deadlock ends as a failure
      std::atomic<std::size_t> sum{0};
      const bool single = tersor::threads() == 1;
      tersor::parallel_for(1000, 1, [&](std::size_t b, std::size_t e) { sum += e - b; });
      // qemu-user aborts when a forked child of a process with threads starts one.
      if (!std::getenv("TERSOR_EMULATED")) tersor::set_threads(2);
      tersor::parallel_for(1000, 1, [&](std::size_t b, std::size_t e) { sum += e - b; });
      const tersor::Buffer block(3u << 20);
      _exit(single && sum == 2000 && block.data() ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  busy.join();
  tersor::set_threads(0);
}

TEST(memory_is_aligned_recycled_and_counted) {
  EXPECT(tersor::allocate(0) == nullptr);
  const std::size_t before = tersor::memory_stats().current_bytes;
  for (const std::size_t n : {1, 63, 64, 65, 4096, 1 << 20, (1 << 20) + 1, 3 << 20, 70 << 20}) {
    tersor::Buffer block(n);
    EXPECT(reinterpret_cast<std::uintptr_t>(block.data()) % tersor::kAlignment == 0);
    block.as<char>()[0] = block.as<char>()[n - 1] = 1;
    EXPECT(tersor::memory_stats().current_bytes >= before + n);
  }
  EXPECT(tersor::memory_stats().current_bytes == before);

  tersor::trim_memory();
  EXPECT(tersor::memory_stats().cached_bytes == 0);
  void* first = tersor::allocate(5u << 20);
  tersor::deallocate(first, 5u << 20);
  EXPECT(tersor::memory_stats().cached_bytes >= 5u << 20);
  void* second = tersor::allocate((5u << 20) - 100);  // the same size class
  EXPECT(second == first);
  tersor::deallocate(second, (5u << 20) - 100);

  tersor::reset_peak_memory();
  { tersor::Buffer a(8u << 20); }
  EXPECT(tersor::memory_stats().peak_bytes >= before + (8u << 20));
  tersor::set_memory_cache_limit(0);
  EXPECT(tersor::memory_stats().cached_bytes == 0);
  tersor::set_memory_cache_limit(256u << 20);
}

TEST(buffer_moves) {
  tersor::Buffer a(100);
  void* p = a.data();
  tersor::Buffer b(std::move(a));
  EXPECT(b.data() == p && b.size() == 100);
  tersor::Buffer c;
  c = std::move(b);
  EXPECT(c.data() == p);
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(philox_known_answers) {
  using Block = std::array<std::uint32_t, 4>;
  EXPECT((tersor::Philox(0, 0).block(0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT((tersor::Philox(~0ull, ~0ull).block(~0ull) ==
          Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT((tersor::Philox(0x299f31d0a4093822, 0x0370734413198a2e).block(0x85a308d3243f6a88) ==
          Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(philox_uniform) {
  const tersor::Philox random(7);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    const float u = random.uniform(i);
    EXPECT(0 <= u && u < 1);
    sum += u;
    EXPECT(random.below(i, 10) < 10);
  }
  EXPECT(std::abs(sum / 100'000 - 0.5) < 0.005);  // five standard deviations
}

TEST(crc32c_known_answers) {
  EXPECT(tersor::crc32c("123456789", 9) == 0xE3069283u);
  std::vector<unsigned char> bytes(32, 0);
  EXPECT(tersor::crc32c(bytes.data(), 32) == 0x8A9136AAu);  // RFC 3720, B.4
  std::fill(bytes.begin(), bytes.end(), 0xFF);
  EXPECT(tersor::crc32c(bytes.data(), 32) == 0x62A8AB43u);
  std::iota(bytes.begin(), bytes.end(), 0);
  EXPECT(tersor::crc32c(bytes.data(), 32) == 0x46DD794Eu);
  for (std::size_t cut = 0; cut <= 32; ++cut) {  // in two pieces, at any alignment
    const std::uint32_t head = tersor::crc32c(bytes.data(), cut);
    EXPECT(tersor::crc32c(bytes.data() + cut, 32 - cut, head) == 0x46DD794Eu);
  }
  EXPECT(tersor::crc32c(nullptr, 0) == 0);
}

TEST(cancellation) {
  tersor::set_cancel_callback([] { return true; });
  EXPECT_THROWS(tersor::Cancelled, "cancelled", tersor::check_cancelled());
  tersor::set_cancel_callback(nullptr);
  tersor::check_cancelled();
}

TEST(config) {
  EXPECT(tersor::version() == TERSOR_VERSION);
  EXPECT(!tersor::compiler().empty());
  EXPECT(tersor::onednn_version().empty() == !TERSOR_HAVE_ONEDNN);
}

TEST_MAIN()
