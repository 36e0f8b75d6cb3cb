#include "histogram/histogram.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/scratch.h"

namespace genimg::histogram {
namespace {

template <typename T>
bool takes_part(const Pool<T>& pool, int64_t i) {
  if (pool.mask != nullptr && pool.mask[i] == 0) return false;
  return pool.values[i] == pool.values[i];
}

// ---- Order ----------------------------------------------------------------------------------------------------------

template <typename T>
struct Record {
  typename Key<T>::type key;
  uint32_t index;
};

// The pool's pixels by value, ties in raster order, those that take no part last; returns how many take part.
template <typename T>
int64_t order(const Pool<T>& pool, uint32_t* out) {
  Scratch<Record<T>> records(pool.size);
  int64_t present = 0;
  for (int64_t i = 0; i < pool.size; ++i) {
    const bool takes = takes_part(pool, i);
    records[i] = {takes ? key_of(pool.values[i]) : Key<T>::absent, static_cast<uint32_t>(i)};
    present += takes;
  }
  std::sort(records.get(), records.get() + pool.size,
            [](const Record<T>& a, const Record<T>& b) { return a.key != b.key ? a.key < b.key : a.index < b.index; });
  for (int64_t r = 0; r < pool.size; ++r) out[r] = records[r].index;
  return present;
}

template <typename T>
constexpr int64_t kCodes = int64_t{1} << (8 * sizeof(T));

template <typename T>
void count_codes(const Pool<T>& pool, int64_t* counts) {
  std::fill(counts, counts + kCodes<T>, 0);
  for (int64_t i = 0; i < pool.size; ++i)
    if (takes_part(pool, i)) ++counts[pool.values[i]];
}

// What takes part, ascending; returns how many.
template <typename T>
int64_t sort_present(const Pool<T>& pool, T* sorted) {
  if constexpr (std::is_integral_v<T>) {
    Scratch<int64_t> counts(kCodes<T>);
    count_codes(pool, counts.get());
    T* end = sorted;
    for (int64_t code = 0; code < kCodes<T>; ++code) end = std::fill_n(end, counts[code], static_cast<T>(code));
    return end - sorted;
  } else {
    T* end = sorted;
    for (int64_t i = 0; i < pool.size; ++i)
      if (takes_part(pool, i)) *end++ = pool.values[i] + T(0);
    std::sort(sorted, end);
    return end - sorted;
  }
}

// ---- The reference --------------------------------------------------------------------------------------------------

// A sorted reference without what takes no part.
template <typename R>
struct Sorted {
  const R* values = nullptr;
  int64_t size = 0;
};

// The run of equal values around an index that never goes back: found from the last one in steps that double, since
// neighbouring queries are near each other.
template <typename R>
class RunCursor {
 public:
  explicit RunCursor(Sorted<R> sorted) : sorted_(sorted) {}

  Position value_position(int64_t a, int64_t n) {
    const Quantile q = quantile(a, n, sorted_.size);
    if (q.quotient >= sorted_.size) return {sorted_.size - 1, sorted_.size - 1, 0};
    seek(q.quotient);
    return histogram::value_position(q, n, begin_, end_);
  }

 private:
  void seek(int64_t index) {
    if (index < end_) return;
    const R* const s = sorted_.values;
    const R x = s[index];
    int64_t step = 1;
    while (index - step >= end_ && s[index - step] == x) step *= 2;
    begin_ = run_begin(s, std::max(end_, index - step), index, x);
    step = 1;
    while (index + step < sorted_.size && s[index + step] == x) step *= 2;
    end_ = run_end(s, index, std::min(sorted_.size, index + step), x);
  }

  Sorted<R> sorted_;
  int64_t begin_ = 0, end_ = 0;
};

// An integer result is interpolated in double.
template <typename T, typename R>
T result(Sorted<R> sorted, const Position& p) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(round_to_even(
        mix(static_cast<double>(sorted.values[p.lower]), static_cast<double>(sorted.values[p.upper]), p.weight),
        kCodes<T> - 1));
  else
    return mix(sorted.values[p.lower], sorted.values[p.upper], p.weight);
}

// Calls visit(r, position) for the ranks 0 .. n - 1 of a source without ties.
template <typename R, typename Visit>
void for_positions(Sorted<R> sorted, int64_t n, Method method, Visit&& visit) {
  if (method == Method::rank) {
    for (int64_t r = 0; r < n; ++r) visit(r, rank_position(r, n, sorted.size));
    return;
  }
  RunCursor<R> cursor(sorted);
  for (int64_t r = 0; r < n; ++r) visit(r, cursor.value_position(r + 1, n));
}

// ---- Matching one segment -------------------------------------------------------------------------------------------

// targets[r] is what the source value with r + 1 source values at or below it becomes.
template <typename T, typename R>
void fill_targets(Sorted<R> sorted, int64_t n, Method method, T* targets) {
  for_positions(sorted, n, method, [&](int64_t r, const Position& p) { targets[r] = result<T>(sorted, p); });
}

template <typename T>
void copy_absent(const Pool<T>& source, T* out) {
  if (out != source.values) std::memmove(out, source.values, source.size * sizeof(T));
}

// For method value: the last index of the run of equal values that holds rank r, for all r, in r's place.
template <typename T>
struct TieWalk {
  const Pool<T>& source;
  const uint32_t* order;
  int64_t present;

  template <typename Visit>
  void operator()(Visit&& visit) const {  // visit(r, last)
    for (int64_t begin = 0, end; begin < present; begin = end) {
      end = begin + 1;
      while (end < present && source.values[order[end]] == source.values[order[begin]]) ++end;
      for (int64_t r = begin; r < end; ++r) visit(r, end - 1);
    }
  }
};

template <typename T, typename Visit>
void for_ranks(const Pool<T>& source, const uint32_t* order, int64_t present, Method method, Visit&& visit) {
  if (method == Method::value) return TieWalk<T>{source, order, present}(visit);
  for (int64_t r = 0; r < present; ++r) visit(r, r);
}

template <typename T>
void match_reals(const Pool<T>& source, Sorted<T> reference, Method method, T* out) {
  Scratch<uint32_t> ranks(source.size);
  const int64_t present = order(source, ranks.get());
  if (reference.size == 0) return copy_absent(source, out);
  Scratch<T> targets(present), matched(present);
  fill_targets(reference, present, method, targets.get());
  for_ranks(source, ranks.get(), present, method, [&](int64_t r, int64_t last) { matched[r] = targets[last]; });
  copy_absent(source, out);
  for (int64_t r = 0; r < present; ++r) out[ranks[r]] = matched[r];
}

template <typename T, typename R>
void match_integers(const Pool<T>& source, Sorted<R> reference, Method method, T* out) {
  if (reference.size == 0) return copy_absent(source, out);
  Scratch<int64_t> counts(kCodes<T>);
  count_codes(source, counts.get());
  int64_t present = 0;
  for (int64_t code = 0; code < kCodes<T>; ++code) present += counts[code];
  if (method == Method::rank) {
    Scratch<T> targets(present);
    fill_targets(reference, present, method, targets.get());
    int64_t below = 0;
    for (int64_t code = 0; code < kCodes<T>; ++code) below += std::exchange(counts[code], below);
    for (int64_t i = 0; i < source.size; ++i)
      out[i] = takes_part(source, i) ? targets[counts[source.values[i]]++] : source.values[i];
    return;
  }
  Scratch<T> table(kCodes<T>);
  RunCursor<R> cursor(reference);
  int64_t below = 0;
  for (int64_t code = 0; code < kCodes<T>; ++code) {
    if (counts[code] == 0) continue;
    below += counts[code];
    table[code] = result<T>(reference, cursor.value_position(below, present));
  }
  for (int64_t i = 0; i < source.size; ++i) out[i] = takes_part(source, i) ? table[source.values[i]] : source.values[i];
}

}  // namespace

template <typename T, typename R>
void match(const Segment<T>* segments, int64_t count, const Reference<R>* references, int64_t reference_count,
           Method method, const Executor& executor) {
  std::vector<Sorted<R>> sorted(reference_count);
  std::vector<std::unique_ptr<Scratch<R>>> storage(reference_count);
  parallel_for(executor, 0, reference_count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Pool<R>& pool = references[i].pool;
      if (references[i].is_sorted) {
        sorted[i] = {pool.values, count_present(pool.values, pool.size)};
        continue;
      }
      storage[i] = std::make_unique<Scratch<R>>(pool.size);
      sorted[i] = {storage[i]->get(), sort_present(pool, storage[i]->get())};
    }
  });
  parallel_for(executor, 0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Segment<T>& s = segments[i];
      if constexpr (std::is_integral_v<T>)
        match_integers(s.source, sorted[s.reference], method, s.out);
      else
        match_reals(s.source, sorted[s.reference], method, s.out);
    }
  });
}

template <typename T>
void sort(const Pool<T>* pools, T* const* sorted, int64_t count, const Executor& executor) {
  parallel_for(executor, 0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t present = sort_present(pools[i], sorted[i]);
      std::fill(sorted[i] + present, sorted[i] + pools[i].size, value_of<T>(Key<T>::absent));
    }
  });
}

// ---- The derivative by the reference --------------------------------------------------------------------------------

namespace {

// Calls visit(source pixel, lower reference pixel, upper reference pixel, weight of the upper one), in the order of the
// source values.
template <typename T, typename Visit>
void for_entries(const LinearSegment<T>& s, Method method, Visit&& visit) {
  Scratch<uint32_t> source_order(s.source.size), reference_order(s.reference.size);
  const int64_t n = order(s.source, source_order.get()), m = order(s.reference, reference_order.get());
  if (n == 0 || m == 0) return;
  Scratch<T> values(m);
  for (int64_t j = 0; j < m; ++j) values[j] = s.reference.values[reference_order[j]];
  RunCursor<T> cursor({values.get(), m});
  for_ranks(s.source, source_order.get(), n, method, [&](int64_t r, int64_t last) {
    const Position p = method == Method::rank ? rank_position(r, n, m) : cursor.value_position(last + 1, n);
    visit(source_order[r], reference_order[p.lower], reference_order[p.upper], p.weight);
  });
}

}  // namespace

template <typename T>
void tangent(const LinearSegment<T>* segments, int64_t count, Method method, const Executor& executor) {
  parallel_for(executor, 0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const LinearSegment<T>& s = segments[i];
      std::fill(s.out, s.out + s.source.size, T(0));
      for_entries(s, method, [&](uint32_t pixel, uint32_t lower, uint32_t upper, double weight) {
        const double low = s.direction[lower];
        s.out[pixel] = static_cast<T>(weight == 0 ? low : (1 - weight) * low + weight * s.direction[upper]);
      });
    }
  });
}

template <typename T>
void adjoint(const LinearSegment<T>* segments, int64_t count, Method method, const Executor& executor) {
  parallel_for(executor, 0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const LinearSegment<T>& s = segments[i];
      Scratch<double> sums(s.reference.size);
      std::fill(sums.get(), sums.get() + s.reference.size, 0.0);
      for_entries(s, method, [&](uint32_t pixel, uint32_t lower, uint32_t upper, double weight) {
        sums[lower] += (1 - weight) * s.direction[pixel];
        if (weight != 0) sums[upper] += weight * s.direction[pixel];
      });
      for (int64_t j = 0; j < s.reference.size; ++j) s.out[j] = static_cast<T>(sums[j]);
    }
  });
}

#define GENIMG_MATCH(T, R) \
  template void match(const Segment<T>*, int64_t, const Reference<R>*, int64_t, Method, const Executor&);
GENIMG_MATCH(float, float)
GENIMG_MATCH(double, double)
GENIMG_MATCH(uint8_t, uint8_t)
GENIMG_MATCH(uint8_t, float)
GENIMG_MATCH(uint16_t, uint16_t)
GENIMG_MATCH(uint16_t, float)
#undef GENIMG_MATCH

#define GENIMG_REALS(T)                                                             \
  template void sort(const Pool<T>*, T* const*, int64_t, const Executor&);          \
  template void tangent(const LinearSegment<T>*, int64_t, Method, const Executor&); \
  template void adjoint(const LinearSegment<T>*, int64_t, Method, const Executor&);
GENIMG_REALS(float)
GENIMG_REALS(double)
#undef GENIMG_REALS

}  // namespace genimg::histogram
