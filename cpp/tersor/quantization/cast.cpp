#include "tersor/quantization/cast.h"

#include "tersor/base/error.h"
#include "tersor/base/threads.h"
#include "tersor/quantization/kernels.h"

namespace tersor::quantization {
namespace {

constexpr std::size_t kGrain = 1 << 16;  // elements, about 10 us

template <class From, class To>
void run(void (*kernel)(const From*, To*, std::size_t) noexcept, const void* x, void* y,
         std::size_t n) {
  const auto* from = static_cast<const From*>(x);
  auto* to = static_cast<To*>(y);
  parallel_for(n, kGrain, [&](std::size_t begin, std::size_t end) {
    kernel(from + begin, to + begin, end - begin);
  });
}

}  // namespace

std::size_t size_of(FloatFormat format) {
  return format == FloatFormat::float16 || format == FloatFormat::bfloat16 ? 2 : 1;
}

FloatFormat float_format_from_name(const std::string& name) {
  if (name == "fp16") return FloatFormat::float16;
  if (name == "bf16") return FloatFormat::bfloat16;
  if (name == "fp8_e4m3") return FloatFormat::float8_e4m3;
  if (name == "fp8_e5m2") return FloatFormat::float8_e5m2;
  throw ValueError(
      message("cast: format must be fp16, bf16, fp8_e4m3, fp8_e5m2 or fp32, got '", name, "'"));
}

void cast_to(const float* x, void* y, std::size_t n, FloatFormat format) {
  switch (format) {
    case FloatFormat::float16:
      return run(to_float16_table.pick(), x, y, n);
    case FloatFormat::bfloat16:
      return run(to_bfloat16_table.pick(), x, y, n);
    case FloatFormat::float8_e4m3:
      return run(to_float8_e4m3_table.pick(), x, y, n);
    case FloatFormat::float8_e5m2:
      return run(to_float8_e5m2_table.pick(), x, y, n);
  }
}

void cast_from(const void* x, float* y, std::size_t n, FloatFormat format) {
  switch (format) {
    case FloatFormat::float16:
      return run(from_float16_table.pick(), x, y, n);
    case FloatFormat::bfloat16:
      return run(from_bfloat16_table.pick(), x, y, n);
    case FloatFormat::float8_e4m3:
      return run(from_float8_e4m3_table.pick(), x, y, n);
    case FloatFormat::float8_e5m2:
      return run(from_float8_e5m2_table.pick(), x, y, n);
  }
}

}  // namespace tersor::quantization
