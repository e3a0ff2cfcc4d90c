// max_pool and avg_pool in channels-last order, one or two spatial dimensions.
#include "tersor/runtime/function_step.h"
#include "tersor/runtime/kernels.h"
#include "tersor/runtime/native.h"
#include "tersor/runtime/native_support.h"

namespace tersor::runtime {
namespace {

struct PoolGeometry {
  SpatialView x, y;
  Window window;
  bool include_pad;
  int32_t zero_point;

  // First and past-last input position of output position o, and how many an average counts.
  struct Extent {
    int64_t first, last, count;
  };
  Extent extent(int dimension, int64_t o) const {
    const int64_t begin = o * window.stride[dimension] - window.pad_begin[dimension];
    const int64_t end = begin + window.kernel[dimension];
    const int64_t first = std::max<int64_t>(begin, 0);
    const int64_t last = std::max(std::min(end, x.size[dimension]), first);
    const int64_t padded = std::min(end, x.size[dimension] + window.pad_end[dimension]) - begin;
    return {first, last, include_pad ? padded : last - first};
  }
};

// visit(input offset, rows, columns, counted positions, output offset) for every output pixel.
template <class Visit>
void for_each_window(const PoolGeometry& g, int threads, Visit visit) {
  const int64_t work = g.y.size[2] * g.y.channels * g.window.kernel[1] * g.window.kernel[2];
  split(threads, g.y.batch * g.y.size[1], kElementGrain / std::max<int64_t>(work, 1) + 1,
        [&](int64_t begin, int64_t end) {
          for (int64_t line = begin; line < end; ++line) {
            const int64_t n = line / g.y.size[1], oh = line % g.y.size[1];
            const auto h = g.extent(1, oh);
            for (int64_t ow = 0; ow < g.y.size[2]; ++ow) {
              const auto w = g.extent(2, ow);
              visit(g.x.at(n, 0, 0, h.first, w.first), static_cast<size_t>(h.last - h.first),
                    static_cast<size_t>(w.last - w.first), h.count * w.count,
                    g.y.at(n, 0, 0, oh, ow));
            }
          }
        });
}

template <class T, class Kernel>
std::unique_ptr<Step> make_max(const StepSpec& spec, const PoolGeometry& g,
                               const KernelTable<Kernel>& table) {
  return std::make_unique<FunctionStep>(
      native_kernel_name(table),
      [g, x = operand(spec, 0), kernel = table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<T>(buffers);
        auto* out = static_cast<T*>(buffers.outputs[0]);
        for_each_window(g, buffers.threads,
                        [&](int64_t from, size_t rows, size_t columns, int64_t, int64_t to) {
                          kernel(in + from, g.x.stride[1], g.x.stride[2], rows, columns,
                                 static_cast<size_t>(g.y.channels), out + to);
                        });
      });
}

std::unique_ptr<Step> make_float_average(const StepSpec& spec, const PoolGeometry& g) {
  return std::make_unique<FunctionStep>(
      native_kernel_name(mean_window_float32_table),
      [g, x = operand(spec, 0),
       kernel = mean_window_float32_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<float>(buffers);
        auto* out = static_cast<float*>(buffers.outputs[0]);
        for_each_window(g, buffers.threads,
                        [&](int64_t from, size_t rows, size_t columns, int64_t count, int64_t to) {
                          kernel(in + from, g.x.stride[1], g.x.stride[2], rows, columns,
                                 static_cast<size_t>(g.y.channels), static_cast<float>(count),
                                 out + to);
                        });
      });
}

std::unique_ptr<Step> make_code_average(const StepSpec& spec, const PoolGeometry& g) {
  return std::make_unique<FunctionStep>(
      native_kernel_name(sum_window_int8_table),
      [g, x = operand(spec, 0), sum = sum_window_int8_table.pick(),
       average = average_sums_table.pick()](const StepBuffers& buffers) {
        const auto* in = x.data<int8_t>(buffers);
        auto* out = static_cast<int8_t*>(buffers.outputs[0]);
        for_each_window(
            g, buffers.threads,
            [&](int64_t from, size_t rows, size_t columns, int64_t count, int64_t to) {
              constexpr int64_t kBlock = 512;  // channels whose sums lie on the stack
              int32_t sums[kBlock];
              const auto padding =
                  static_cast<int32_t>(count - static_cast<int64_t>(rows * columns));
              for (int64_t c = 0; c < g.y.channels; c += kBlock) {
                const auto channels = static_cast<size_t>(std::min(kBlock, g.y.channels - c));
                sum(in + from + c, g.x.stride[1], g.x.stride[2], rows, columns, channels, sums);
                average(sums, out + to + c, channels, g.zero_point * padding,
                        static_cast<int32_t>(std::max<int64_t>(count, 1)));
              }
            });
      });
}

}  // namespace

std::unique_ptr<Step> make_native_pool_step(const StepSpec& spec) {
  if (spec.op != Op::max_pool && spec.op != Op::avg_pool) return nullptr;
  const PlanEdge &x = *spec.inputs[0], &y = *spec.outputs[0];
  if (x.layout != Layout::channels_last || x.shape.size() < 3 || x.shape.size() > 4) return nullptr;
  const Values values = values_of(spec, 1);
  if (values != Values::float32 && values != Values::int8) return nullptr;
  PoolGeometry g{spatial_view(spec, x), spatial_view(spec, y),
                 window_of(spec, spec.attributes.integers("kernel")),
                 spec.op == Op::avg_pool && spec.attributes.integer("count_include_pad") != 0, 0};
  if (values == Values::int8) {
    check_same_parameters(spec, 1);
    g.zero_point = affine_of(spec, x).zero_point;
    if (spec.op == Op::avg_pool) return make_code_average(spec, g);
    return make_max<int8_t>(spec, g, max_window_int8_table);
  }
  if (spec.op == Op::avg_pool) return make_float_average(spec, g);
  return make_max<float>(spec, g, max_window_float32_table);
}

}  // namespace tersor::runtime
