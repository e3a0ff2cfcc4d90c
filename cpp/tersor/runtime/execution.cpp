#include "tersor/runtime/execution.h"

namespace tersor::runtime {

void MemoryMeter::add(size_t bytes) {
  const size_t now = current_ += bytes;
  size_t seen = peak_;
  while (seen < now && !peak_.compare_exchange_weak(seen, now)) {
  }
}

Program::Program(std::shared_ptr<const Plan> plan, std::shared_ptr<MemoryMeter> meter)
    : plan_(std::move(plan)), meter_(std::move(meter)) {
  scratch_offset_ = (plan_->arena_bytes + kAlignment - 1) / kAlignment * kAlignment;
  input_of_.assign(plan_->edges.size(), -1);
  output_of_.assign(plan_->edges.size(), -1);
  const auto root = [&](int e) { return static_cast<size_t>(plan_->root[static_cast<size_t>(e)]); };
  for (size_t i = 0; i < plan_->inputs.size(); ++i) {
    input_of_[root(plan_->inputs[i])] = static_cast<int>(i);
  }
  for (size_t i = 0; i < plan_->outputs.size(); ++i) {
    output_of_[root(plan_->outputs[i])] = static_cast<int>(i);
  }
  size_t position = 0;
  const auto visit = [&](int e) {
    if (e >= 0 && input_of_[root(e)] >= 0) {
      input_patches_.push_back({position, static_cast<size_t>(input_of_[root(e)])});
    } else if (e >= 0 && output_of_[root(e)] >= 0) {
      output_patches_.push_back({position, static_cast<size_t>(output_of_[root(e)])});
    }
    ++position;
  };
  for (const PlannedStep& step : plan_->steps) {
    begin_.push_back(position);
    for (const int e : step.inputs) visit(e);
    for (const int e : step.outputs) visit(e);
  }
  meter_->add(plan_->packed_bytes);
}

Program::~Program() { meter_->remove(plan_->packed_bytes + contexts_ * context_bytes()); }

std::unique_ptr<Context> Program::acquire() const {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto context = std::move(free_.back());
      free_.pop_back();
      return context;
    }
    ++contexts_;
  }
  meter_->add(context_bytes());
  return make_context();
}

void Program::release(std::unique_ptr<Context> context) const {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(context));
}

std::unique_ptr<Context> Program::make_context() const {
  auto context = std::make_unique<Context>();
  context->memory = Buffer(context_bytes());
  context->inputs.resize(plan_->inputs.size());
  context->outputs.resize(plan_->outputs.size());
  context->staging.resize(plan_->inputs.size());
  const auto add = [&](int e) {
    const int64_t offset = e < 0 ? -1 : plan_->offsets[static_cast<size_t>(e)];
    context->pointers.push_back(offset < 0 ? nullptr : context->memory.as<char>() + offset);
  };
  for (const PlannedStep& step : plan_->steps) {
    for (const int e : step.inputs) add(e);
    for (const int e : step.outputs) add(e);
  }
  return context;
}

void Program::connect(Context& context) const {
  for (const Patch& p : input_patches_) {
    context.pointers[p.position] = const_cast<void*>(context.inputs[p.index]);
  }
  for (const Patch& p : output_patches_) context.pointers[p.position] = context.outputs[p.index];
}

const void* Program::address(const Context& context, int edge) const {
  const auto root = static_cast<size_t>(plan_->root[static_cast<size_t>(edge)]);
  if (input_of_[root] >= 0) return context.inputs[static_cast<size_t>(input_of_[root])];
  if (output_of_[root] >= 0) return context.outputs[static_cast<size_t>(output_of_[root])];
  return context.memory.as<char>() + plan_->offsets[root];
}

}  // namespace tersor::runtime
