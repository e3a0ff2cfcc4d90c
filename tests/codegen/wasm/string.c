#include <string.h>

void* memcpy(void* to, const void* from, size_t n) {
  size_t i;
  for (i = 0; i < n; ++i) ((char*)to)[i] = ((const char*)from)[i];
  return to;
}

void* memset(void* to, int value, size_t n) {
  size_t i;
  for (i = 0; i < n; ++i) ((char*)to)[i] = (char)value;
  return to;
}
