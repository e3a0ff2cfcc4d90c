/* What generated C takes from the C library; clang for wasm32 has none. */
#include <stddef.h>
void* memcpy(void* to, const void* from, size_t n);
void* memset(void* to, int value, size_t n);
