// Calls one operation of an installed tersor, and catches its error.
#include <tersor/base/config.h>
#include <tersor/base/error.h>
#include <tersor/quantization/affine.h>

#include <cstdint>
#include <cstdio>

int main() {
  const float x[4] = {-1.0f, 0.0f, 0.25f, 99.0f}, scale = 0.1f, zero = 0.0f;
  const std::int32_t zero_point = 5;
  std::int8_t q[4];
  tersor::quantization::quantize_affine(x, q, {1, 1, 4}, &scale, &zero_point);
  std::printf("%s %d %d %d %d\n", tersor::version().c_str(), q[0], q[1], q[2], q[3]);
  try {
    tersor::quantization::quantize_affine(x, q, {1, 1, 4}, &zero, &zero_point);
  } catch (const tersor::ValueError& e) {  // the type crosses the library's border
    std::puts(e.what());
  }
}
