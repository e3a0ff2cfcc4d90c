#include <tuple>

#include "bind_cuda.h"
#include "tersor/quantization/cuda.h"
#include "tersor/quantization/observer.h"

namespace py = pybind11;

namespace tersor::bindings {
namespace {

using quantization::AffineShape;
using quantization::DeviceQuantizer;

using Layout = std::array<std::size_t, 4>;  // outer, channels, inner, group
// Addresses of scale, zero_point and zero_point_float (0: none), one scale, one zero point,
// float_zero, rounded, lo, hi.
using Quantizer = std::tuple<Address, Address, Address, float, float, bool, bool, int, int>;

AffineShape shape_of(const Layout& l) { return {l[0], l[1], l[2], l[3]}; }

DeviceQuantizer quantizer_of(const Quantizer& q) {
  DeviceQuantizer p;
  p.scale = at<const float>(std::get<0>(q));
  p.zero_point = at<const std::int32_t>(std::get<1>(q));
  p.zero_point_float = at<const float>(std::get<2>(q));
  p.one_scale = std::get<3>(q);
  p.one_zero = std::get<4>(q);
  p.float_zero = std::get<5>(q);
  p.rounded = std::get<6>(q);
  p.lo = std::get<7>(q);
  p.hi = std::get<8>(q);
  return p;
}

void bind_codes(py::module_& m) {
  m.def("quantize", [](Address x, bool bfloat16, Address q, const Layout& layout,
                       const Quantizer& p, bool packed, Address stream) {
    const auto run = packed ? quantization::quantize_int4_cuda : quantization::quantize_affine_cuda;
    run(at(x), number_of(bfloat16), at<std::uint8_t>(q), shape_of(layout), quantizer_of(p),
        stream_at(stream));
  });
  m.def("dequantize", [](Address q, Address y, bool bfloat16, const Layout& layout,
                         const Quantizer& p, bool packed, bool is_unsigned, Address stream) {
    if (packed) {
      quantization::dequantize_int4_cuda(at<std::uint8_t>(q), at(y), number_of(bfloat16),
                                         shape_of(layout), quantizer_of(p), stream_at(stream));
    } else {
      quantization::dequantize_affine_cuda(at<std::uint8_t>(q), at(y), number_of(bfloat16),
                                           shape_of(layout), quantizer_of(p), is_unsigned,
                                           stream_at(stream));
    }
  });
  m.def("cast_to", [](Address x, Address y, std::size_t n, const std::string& format,
                      Address stream) {
    quantization::cast_to_cuda(at<const float>(x), at(y), n,
                               quantization::float_format_from_name(format), stream_at(stream));
  });
  m.def("cast_from", [](Address x, Address y, std::size_t n, const std::string& format,
                        Address stream) {
    quantization::cast_from_cuda(at(x), at<float>(y), n,
                                 quantization::float_format_from_name(format), stream_at(stream));
  });
}

void bind_fake(py::module_& m) {
  m.def("fake_quantize", [](Address x, Address y, bool bfloat16, Address mask, const Layout& layout,
                            const Quantizer& p, Address stream) {
    quantization::fake_quantize_cuda(at(x), at(y), number_of(bfloat16), at<std::uint8_t>(mask),
                                     shape_of(layout), quantizer_of(p), stream_at(stream));
  });
  m.def("fake_quantize_backward",
        [](Address dy, Address dx, bool bfloat16, Address mask, std::size_t n, Address stream) {
          quantization::fake_quantize_backward_cuda(at(dy), at(dx), number_of(bfloat16),
                                                    at<std::uint8_t>(mask), n, stream_at(stream));
        });
}

void bind_observers(py::module_& m) {
  m.def("lsq_backward", [](Address dy, Address x, Address dx, bool bfloat16, const Layout& layout,
                           const Quantizer& p, double gradient_scale, Address dscale, Address dzero,
                           Address stream) {
    quantization::lsq_backward_cuda(at(dy), at(x), at(dx), number_of(bfloat16), shape_of(layout),
                                    quantizer_of(p), gradient_scale, at<float>(dscale),
                                    at<float>(dzero), stream_at(stream));
  });
  // The observers are the CPU's: what they see of an array is found on the device.
  m.def("observe_min_max", [](quantization::MinMaxObserver& observer, Address x, bool bfloat16,
                              const Layout& layout, Address stream) {
    observer.merge(quantization::MinMaxObserver(observer.axis(), without_gil([&] {
                                                  return quantization::min_max_scales_cuda(
                                                      at(x), number_of(bfloat16), shape_of(layout),
                                                      "MinMaxObserver", stream_at(stream));
                                                })));
  });
  m.def("observe_average", [](quantization::MovingAverageObserver& observer, Address x,
                              bool bfloat16, const Layout& layout, Address stream) {
    const auto range = without_gil([&] {
      return quantization::min_max_scales_cuda(at(x), number_of(bfloat16), shape_of(layout),
                                               "MovingAverageObserver", stream_at(stream));
    });
    const float ends[2] = {range.front().lo, range.front().hi};
    observer.observe(ends, 2);
  });
  m.def("observe_histogram", [](quantization::HistogramObserver& observer, Address x, bool bfloat16,
                                std::size_t n, Address stream) {
    observer.merge(quantization::HistogramObserver(without_gil([&] {
      return quantization::histogram_cuda(at(x), number_of(bfloat16), n, "HistogramObserver",
                                          stream_at(stream));
    })));
  });
}

}  // namespace

void bind_quantization_cuda(py::module_& m) {
  bind_codes(m);
  bind_fake(m);
  bind_observers(m);
}

}  // namespace tersor::bindings
