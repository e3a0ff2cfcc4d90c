#include "tersor/graph/memory_planner.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "tersor/base/error.h"

namespace tersor::graph {
namespace {

constexpr int64_t kUnplaced = -1;
constexpr int64_t kNoDistance = std::numeric_limits<int64_t>::max();

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Another buffer that is alive together with this one.
struct Rival {
  int id;
  int64_t above;  // this buffer may start `above` bytes (or more) over the rival's start;
                  // kNoDistance: no
  int64_t
      below;  // the rival may start `below` bytes (or more) over this one's start; kNoDistance: no
};

class Packer {
 public:
  Packer(const std::vector<BufferRequest>& buffers, int64_t alignment,
         const std::vector<BufferOverlap>& overlaps)
      : alignment_(alignment),
        size_(buffers.size()),
        rivals_(buffers.size()),
        offset_(buffers.size(), kUnplaced) {
    for (size_t i = 0; i < buffers.size(); ++i) size_[i] = round_up(buffers[i].bytes, alignment);
    for (size_t i = 0; i < buffers.size(); ++i) {
      for (size_t j = i + 1; j < buffers.size(); ++j) {
        const bool together =
            buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
        if (!together || size_[i] == 0 || size_[j] == 0) continue;
        rivals_[i].push_back({static_cast<int>(j), kNoDistance, kNoDistance});
        rivals_[j].push_back({static_cast<int>(i), kNoDistance, kNoDistance});
      }
    }
    for (const BufferOverlap& o : overlaps) permit(o);
  }

  int64_t size(int id) const { return size_[static_cast<size_t>(id)]; }
  int64_t offset(int id) const { return offset_[static_cast<size_t>(id)]; }
  void place(int id, int64_t offset) { offset_[static_cast<size_t>(id)] = offset; }
  const std::vector<int64_t>& offsets() const { return offset_; }
  void clear() { std::fill(offset_.begin(), offset_.end(), kUnplaced); }

  // Lowest offset for `id` beside the placed buffers. Only 0, the ends of rivals and the starts at
  // which an overlap begins to be permitted can be lowest.
  int64_t lowest(int id) {
    candidates_.assign(1, 0);
    for (const Rival& r : rivals_[static_cast<size_t>(id)]) {
      if (offset(r.id) == kUnplaced) continue;
      candidates_.push_back(offset(r.id) + size(r.id));
      if (r.above != kNoDistance) {
        candidates_.push_back(round_up(std::max<int64_t>(0, offset(r.id) + r.above), alignment_));
      }
    }
    std::sort(candidates_.begin(), candidates_.end());
    for (const int64_t at : candidates_) {
      if (fits(id, at)) return at;
    }
    return candidates_.back();  // above every rival: always free
  }

 private:
  void permit(const BufferOverlap& o) {
    for (Rival& r : rivals_[static_cast<size_t>(o.a)]) {
      if (r.id == o.b) r.below = o.distance;
    }
    for (Rival& r : rivals_[static_cast<size_t>(o.b)]) {
      if (r.id == o.a) r.above = o.distance;
    }
  }

  bool fits(int id, int64_t at) const {
    for (const Rival& r : rivals_[static_cast<size_t>(id)]) {
      const int64_t other = offset(r.id);
      if (other == kUnplaced || at + size(id) <= other || other + size(r.id) <= at) continue;
      const bool permitted = (r.above != kNoDistance && at >= other + r.above) ||
                             (r.below != kNoDistance && other >= at + r.below);
      if (!permitted) return false;
    }
    return true;
  }

  int64_t alignment_;
  std::vector<int64_t> size_;
  std::vector<std::vector<Rival>> rivals_;
  std::vector<int64_t> offset_;
  std::vector<int64_t> candidates_;
};

// Depth first over orders of placement with offsets that never fall: a packing in which nothing can
// move down is reached by taking its buffers in the order of their offsets, so that without
// overlaps an exhausted search has seen an optimum.
class Search {
 public:
  Search(Packer& packer, std::vector<int> order, int64_t bound, int64_t node_limit, bool ascending)
      : packer_(packer),
        order_(std::move(order)),
        bound_(bound),
        nodes_left_(node_limit),
        ascending_(ascending),
        placed_(order_.size(), false) {}

  // Improves (best_total, best_offsets); true when every order was covered.
  bool run(int64_t& best_total, std::vector<int64_t>& best_offsets) {
    best_total_ = &best_total;
    best_offsets_ = &best_offsets;
    packer_.clear();
    visit(0, 0, 0);
    return nodes_left_ > 0;
  }

 private:
  void visit(size_t depth, int64_t floor, int64_t top) {
    if (--nodes_left_ <= 0) return;
    if (depth == order_.size()) {
      *best_total_ = top;
      *best_offsets_ = packer_.offsets();
      return;
    }
    std::vector<std::pair<int64_t, size_t>> options;
    for (size_t i = 0; i < order_.size(); ++i) {
      if (placed_[i]) continue;
      const int64_t at = packer_.lowest(order_[i]);
      // Placing others first can only push this buffer up, so no completion beats the best one.
      // With permitted overlaps the same holds: rivals only take room away.
      if (at + packer_.size(order_[i]) >= *best_total_) return;
      if (!ascending_ || at >= floor) options.emplace_back(at, i);
    }
    std::sort(options.begin(), options.end());
    for (const auto& [at, i] : options) {
      packer_.place(order_[i], at);
      placed_[i] = true;
      visit(depth + 1, at, std::max(top, at + packer_.size(order_[i])));
      placed_[i] = false;
      packer_.place(order_[i], kUnplaced);
      if (nodes_left_ <= 0 || *best_total_ <= bound_) return;
    }
  }

  Packer& packer_;
  std::vector<int> order_;
  int64_t bound_;
  int64_t nodes_left_;
  bool ascending_;
  std::vector<bool> placed_;
  int64_t* best_total_ = nullptr;
  std::vector<int64_t>* best_offsets_ = nullptr;
};

// Bytes that one pair can save at most: what their union is smaller than their sum.
int64_t saving_of(const BufferOverlap& o, int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  const int64_t together = std::max({a, b, o.distance > 0 ? o.distance + b : int64_t{0}});
  return std::max<int64_t>(0, a + b - together);
}

int64_t lower_bound_of(const std::vector<BufferRequest>& buffers, int64_t alignment,
                       const std::vector<BufferOverlap>& overlaps) {
  int64_t bound = 0;
  for (const BufferRequest& at :
       buffers) {  // a maximum of live bytes begins where some buffer begins
    int64_t live = 0;
    const auto alive = [&](const BufferRequest& b) {
      return b.first <= at.first && at.first <= b.last;
    };
    for (const BufferRequest& b : buffers) {
      if (alive(b)) live += round_up(b.bytes, alignment);
    }
    for (const BufferOverlap& o : overlaps) {
      const BufferRequest& a = buffers[static_cast<size_t>(o.a)];
      const BufferRequest& b = buffers[static_cast<size_t>(o.b)];
      if (alive(a) && alive(b)) {
        live -= saving_of(o, round_up(a.bytes, alignment), round_up(b.bytes, alignment));
      }
    }
    bound = std::max({bound, live, round_up(at.bytes, alignment)});
  }
  return bound;
}

void check(const std::vector<BufferRequest>& buffers, int64_t alignment,
           const std::vector<BufferOverlap>& overlaps) {
  TERSOR_CHECK(alignment >= 1, "plan_memory: alignment must be positive, got ", alignment);
  for (const BufferRequest& b : buffers) {
    TERSOR_CHECK(b.bytes >= 0, "plan_memory: bytes must not be negative, got ", b.bytes);
    TERSOR_CHECK(b.first <= b.last, "plan_memory: last must be at least first = ", b.first,
                 ", got ", b.last);
  }
  const auto n = static_cast<int>(buffers.size());
  for (const BufferOverlap& o : overlaps) {
    TERSOR_CHECK(0 <= o.a && o.a < n && 0 <= o.b && o.b < n && o.a != o.b,
                 "plan_memory: overlaps must name two of ", n, " buffers, got ", o.a, " and ", o.b);
  }
}

}  // namespace

MemoryPlan plan_memory(const std::vector<BufferRequest>& buffers, int64_t alignment,
                       const std::vector<BufferOverlap>& overlaps, int64_t node_limit) {
  check(buffers, alignment, overlaps);
  MemoryPlan plan;
  plan.lower_bound_bytes = lower_bound_of(buffers, alignment, overlaps);
  plan.total_bytes = std::numeric_limits<int64_t>::max();

  Packer packer(buffers, alignment, overlaps);
  std::vector<int> order;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i].bytes > 0) order.push_back(static_cast<int>(i));
  }
  const auto span = [&](int i) {
    return buffers[static_cast<size_t>(i)].last - buffers[static_cast<size_t>(i)].first;
  };
  const auto first = [&](int i) { return buffers[static_cast<size_t>(i)].first; };
  const auto try_order = [&](auto&& less) {
    std::stable_sort(order.begin(), order.end(), less);
    packer.clear();
    int64_t total = 0;
    for (const int i : order) {
      packer.place(i, packer.lowest(i));
      total = std::max(total, packer.offset(i) + packer.size(i));
    }
    if (total < plan.total_bytes) {
      plan.total_bytes = total;
      plan.offsets = packer.offsets();
    }
  };
  try_order([&](int a, int b) { return first(a) < first(b); });
  try_order([&](int a, int b) { return span(a) > span(b); });
  try_order([&](int a, int b) { return packer.size(a) > packer.size(b); });

  plan.optimal = plan.total_bytes == plan.lower_bound_bytes;
  if (!plan.optimal && node_limit > 0) {
    Search search(packer, order, plan.lower_bound_bytes, node_limit, overlaps.empty());
    const bool exhausted = search.run(plan.total_bytes, plan.offsets);
    plan.optimal = (exhausted && overlaps.empty()) || plan.total_bytes == plan.lower_bound_bytes;
  }
  std::replace(plan.offsets.begin(), plan.offsets.end(), kUnplaced, int64_t{0});
  return plan;
}

}  // namespace tersor::graph
