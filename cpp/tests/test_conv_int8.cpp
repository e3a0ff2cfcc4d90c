// Int8 convolutions of random shapes against plain loops, on every instruction set of the machine
// (also under emulation): sums exact, codes as requantize.h says, 1 and 2 threads, with and without
// a residual.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "check.h"
#include "tersor/base/error.h"
#include "tersor/base/memory.h"
#include "tersor/base/random.h"
#include "tersor/quantization/conv_int8.h"

namespace {

using namespace tersor::quantization;

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int64_t between(int64_t low, int64_t high) {
    const auto span = static_cast<double>(high - low + 1);
    return std::min(
        high, low + static_cast<int64_t>(static_cast<double>(random_.uniform(next_++)) * span));
  }

 private:
  tersor::Philox random_;
  uint64_t next_ = 0;
};

struct Case {
  ConvInt8Shape shape;
  ConvInt8Algorithm algorithm = ConvInt8Algorithm::automatic;
  std::vector<int8_t> x, weights, residual;
  std::vector<int32_t> bias;
  int32_t zero_point = 0;
  ConvInt8Epilogue epilogue;
  int threads = 1;
};

ConvInt8Shape draw_shape(Draw& draw, int64_t kind) {
  ConvInt8Shape s;
  s.batch = draw.between(1, 3);
  s.height = draw.between(3, 18);
  s.width = draw.between(3, 18);
  s.kernel_h = s.kernel_w = kind == 3 ? 1 : 3;
  s.pad_top = draw.between(0, 2);
  s.pad_left = draw.between(0, 2);
  s.pad_bottom = draw.between(0, 2);
  s.pad_right = draw.between(0, 2);
  if (kind == 0) {  // anything
    s.groups = draw.between(1, 3);
    s.channels = s.groups * draw.between(1, 20);
    s.out_channels = s.groups * draw.between(1, 20);
    s.kernel_h = draw.between(1, 3);
    s.stride_h = draw.between(1, 2);
    s.stride_w = draw.between(1, 2);
    s.dilation_w = s.width > 4 ? draw.between(1, 2) : 1;
  } else if (kind == 1) {  // Winograd
    s.channels = 16 * draw.between(1, 3);
    s.out_channels = draw.between(1, 40);
  } else if (kind == 2) {  // depthwise
    s.channels = s.out_channels = s.groups = draw.between(2, 40);
    s.stride_h = s.stride_w = draw.between(1, 2);
  } else {  // 1 x 1
    s.channels = draw.between(1, 70);
    s.out_channels = draw.between(1, 70);
    s.stride_w = draw.between(1, 2);
  }
  return s;
}

Case draw_case(uint64_t seed) {
  Draw draw(seed);
  Case c;
  const int64_t kind = draw.between(0, 3);
  ConvInt8Shape& s = c.shape = draw_shape(draw, kind);
  if (kind != 1 && kind != 2 && draw.between(0, 1)) c.algorithm = ConvInt8Algorithm::bytes;
  const bool extreme = draw.between(0, 1) == 0;
  const auto fill = [&](std::vector<int8_t>& v, int64_t n, int64_t low) {
    v.resize(static_cast<size_t>(n));
    for (int8_t& q : v)
      q = static_cast<int8_t>(extreme ? (draw.between(0, 1) ? 127 : low) : draw.between(low, 127));
  };
  fill(c.x, s.batch * s.height * s.width * s.channels, -128);
  fill(c.weights, s.out_channels * s.group_channels() * s.kernel_h * s.kernel_w, -127);
  fill(c.residual, s.batch * s.out_height() * s.out_width() * s.out_channels, -128);
  for (int64_t o = 0; o < s.out_channels; ++o)
    c.bias.push_back(static_cast<int32_t>(draw.between(-100000, 100000)));
  c.zero_point = static_cast<int32_t>(draw.between(0, 1) ? -128 : draw.between(-128, 127));
  QParams output, other, sum;
  output.scale = {0.05f};
  output.zero_point = {static_cast<int32_t>(draw.between(-128, 127))};
  other.scale = {0.03f};
  other.zero_point = {5};
  sum.scale = {0.06f};
  sum.zero_point = {-100};
  const CodeRange range{std::max(-128, output.zero_point[0] - 20), 127};
  for (int64_t o = 0; o < s.out_channels; ++o) {
    c.epilogue.requantizers.push_back(
        requantizer(1e-4 * static_cast<double>(1 + o % 7), output, range));
  }
  if (draw.between(0, 1)) c.epilogue.adder = code_adder(output, other, sum, false, {-100, 127});
  c.epilogue.exact = draw.between(0, 3) == 0;
  c.threads = static_cast<int>(draw.between(1, 2));
  return c;
}

int32_t plain_sum(const Case& c, int64_t n, int64_t oy, int64_t ox, int64_t o) {
  const ConvInt8Shape& s = c.shape;
  const int64_t depth = s.group_channels(), first = o / s.group_outputs() * depth;
  int64_t sum = c.bias[static_cast<size_t>(o)];
  for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t y = oy * s.stride_h - s.pad_top + ky * s.dilation_h;
      const int64_t x = ox * s.stride_w - s.pad_left + kx * s.dilation_w;
      if (y < 0 || x < 0 || y >= s.height || x >= s.width) continue;
      for (int64_t i = 0; i < depth; ++i) {
        const int64_t at = ((n * s.height + y) * s.width + x) * s.channels + first + i;
        const int64_t weight = ((o * depth + i) * s.kernel_h + ky) * s.kernel_w + kx;
        sum +=
            (c.x[static_cast<size_t>(at)] - c.zero_point) * c.weights[static_cast<size_t>(weight)];
      }
    }
  }
  return static_cast<int32_t>(sum);
}

bool agrees(const Case& c) {
  const ConvInt8Shape& s = c.shape;
  const ConvInt8 conv(s, c.weights.data(), c.bias.data(), c.zero_point, c.epilogue, c.algorithm);
  tersor::Buffer scratch(conv.scratch_bytes(c.threads));
  std::memset(scratch.data(), 0x5a, scratch.size());
  std::vector<int32_t> sums(c.residual.size());
  std::vector<int8_t> codes(c.residual.size());
  conv.accumulate(c.x.data(), sums.data(), scratch.data(), c.threads);
  conv.run(c.x.data(), c.residual.data(), codes.data(), scratch.data(), c.threads);
  size_t at = 0;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t p = 0; p < s.out_height() * s.out_width(); ++p) {
      for (int64_t o = 0; o < s.out_channels; ++o, ++at) {
        const int32_t sum = plain_sum(c, n, p / s.out_width(), p % s.out_width(), o);
        const Requantizer& r = c.epilogue.requantizers[static_cast<size_t>(o)];
        int32_t code = c.epilogue.exact ? r.exact(sum) : r.fast(sum);
        if (c.epilogue.adder) {
          const CodeAdder& adder = *c.epilogue.adder;
          code = c.epilogue.exact ? adder.exact(code, c.residual[at])
                                  : adder.fast(code, c.residual[at]);
        }
        if (sums[at] != sum || codes[at] != code) return false;
      }
    }
  }
  return true;
}

}  // namespace

TEST(conv_int8_random_shapes) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const bool good = agrees(draw_case(seed));
    EXPECT(good);
    if (!good) std::printf("seed %d\n", static_cast<int>(seed));
  }
}

TEST(conv_int8_rejects) {
  ConvInt8Shape s;
  s.channels = 2;
  s.groups = 3;
  const int8_t w[4] = {};
  ConvInt8Epilogue e;
  e.requantizers.resize(1);
  EXPECT_THROWS(tersor::ValueError, "groups must divide", ConvInt8(s, w, nullptr, 0, e));
}

TEST_MAIN()
