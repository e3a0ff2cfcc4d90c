// A test framework in a screen: TEST(name) { EXPECT(condition); } and one main per file.
//
// A program runs all its tests, or those whose names contain its first argument, once per
// instruction-set level that the CPU has, and returns the number of failures.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "tersor/base/isa.h"

namespace check {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

inline int failures = 0;

inline bool enlist(const char* name, void (*run)()) {
  tests().push_back({name, run});
  return true;
}

inline void fail(const char* file, int line, const std::string& text) {
  std::printf("%s:%d: %s\n", file, line, text.c_str());
  ++failures;
}

inline int run_all(int argc, char** argv) {
  int runs = 0;
  for (const std::string& level : tersor::supported_isas()) {
    tersor::force_isa(level);
    for (const Test& test : tests()) {
      if (argc > 1 && !std::strstr(test.name, argv[1])) continue;
      const int before = failures;
      try {
        test.run();
      } catch (const std::exception& e) {
        fail(test.name, 0, std::string("unexpected exception: ") + e.what());
      }
      ++runs;
      if (failures != before) std::printf("FAILED %s (%s)\n", test.name, level.c_str());
    }
  }
  std::printf("%d runs, %d failures\n", runs, failures);
  return failures != 0 || runs == 0;
}

}  // namespace check

#define TEST(name)                                                                       \
  static void test_##name();                                                             \
  [[maybe_unused]] static const bool listed_##name = check::enlist(#name, &test_##name); \
  static void test_##name()

#define EXPECT(condition)                                                    \
  do {                                                                       \
    if (!(condition)) check::fail(__FILE__, __LINE__, "EXPECT " #condition); \
  } while (false)

// The statement throws `type`, and its message contains `part`.
#define EXPECT_THROWS(type, part, ...)                                                            \
  do {                                                                                            \
    try {                                                                                         \
      __VA_ARGS__;                                                                                \
      check::fail(__FILE__, __LINE__, "no exception from " #__VA_ARGS__);                         \
    } catch (const type& e) {                                                                     \
      if (!std::strstr(e.what(), part)) {                                                         \
        check::fail(__FILE__, __LINE__, std::string("message \"") + e.what() + "\" lacks " part); \
      }                                                                                           \
    }                                                                                             \
  } while (false)

#define TEST_MAIN() \
  int main(int argc, char** argv) { return check::run_all(argc, argv); }
