// TERSOR_API marks what libtersor.so exports; everything else stays hidden in the library.
#pragma once

#define TERSOR_API __attribute__((visibility("default")))

#if defined(__x86_64__)
#define TERSOR_X86 1
#else
#define TERSOR_X86 0
#endif

#if defined(__aarch64__)
#define TERSOR_ARM64 1
#else
#define TERSOR_ARM64 0
#endif
