// A step whose work is one callable.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "tersor/runtime/step.h"

namespace tersor::runtime {

class FunctionStep final : public Step {
 public:
  using Body = std::function<void(const StepBuffers&)>;

  FunctionStep(std::string kernel, Body body, bool in_place = false, size_t packed_bytes = 0)
      : kernel_(std::move(kernel)),
        body_(std::move(body)),
        in_place_(in_place),
        packed_bytes_(packed_bytes) {}

  void run(const StepBuffers& buffers) const override { body_(buffers); }
  std::string kernel() const override { return kernel_; }
  bool in_place() const override { return in_place_; }
  size_t packed_bytes() const override { return packed_bytes_; }

 private:
  std::string kernel_;
  Body body_;
  bool in_place_;
  size_t packed_bytes_;
};

}  // namespace tersor::runtime
