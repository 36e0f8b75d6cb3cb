#include "histogram/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/isa.h"
#include "common/scratch.h"
#include "histogram/kernels.h"

namespace genimg::histogram {

GENIMG_DECLARE_LEVELS(extern const Kernels<float> float_kernels; extern const Kernels<double> double_kernels;
                      extern const MapBytes byte_map;)

template <typename T>
const Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return GENIMG_OF_LEVEL(float_kernels);
  else
    return GENIMG_OF_LEVEL(double_kernels);
}

MapBytes map_bytes() { return GENIMG_OF_LEVEL(byte_map); }

namespace {

template <typename T>
bool takes_part(const Pool<T>& pool, int64_t i) {
  if (pool.mask != nullptr && pool.mask[i] == 0) return false;
  return pool.values[i] == pool.values[i];
}

// ---- Sorting ------------------------------------------------------------------------------------------------------

constexpr int64_t kMeanBucket = 96;
constexpr int64_t kParallel = int64_t{1} << 15;  // smaller pools are not divided among threads

template <typename T>
const uint8_t* mask_from(const Pool<T>& pool, int64_t i) {
  return pool.mask == nullptr ? nullptr : pool.mask + i;
}

// run(i, executor) for the pools i < count, of size(i) values. Large ones come one by one, each divided among the
// threads; the rest are shared out, as nearly as may be the same number of values to each thread.
template <typename Size, typename Run>
void for_pools(const Executor& executor, int64_t count, Size&& size, Run&& run) {
  std::vector<int64_t> begins, small;
  int64_t total = 0, all = 0;
  for (int64_t i = 0; i < count; ++i) all += size(i);
  for (int64_t i = 0; i < count; ++i) {
    if (size(i) >= kParallel && (count == 1 || size(i) >= all / 8)) {
      run(i, executor);
      continue;
    }
    small.push_back(i);
    begins.push_back(total);
    total += size(i) + 1;
  }
  parallel_for(executor, 0, total, kParallel, [&](int64_t begin, int64_t end) {
    auto first = std::lower_bound(begins.begin(), begins.end(), begin) - begins.begin();
    for (; first < static_cast<int64_t>(small.size()) && begins[first] < end; ++first)
      run(small[first], serial_executor());
  });
}

// Finite values that take part, spread over the pool; returns how many.
template <typename T>
int64_t take_sample(const Pool<T>& pool, T* sample, int64_t size) {
  int64_t taken = 0;
  for (int64_t j = 0; j < size; ++j) {
    const int64_t begin = pool.size * j / size, length = pool.size * (j + 1) / size - begin;
    const int64_t i = begin + j * 7919 % length;  // not a constant step: textures have periods
    if (takes_part(pool, i) && std::isfinite(pool.values[i])) sample[taken++] = pool.values[i];
  }
  return taken;
}

template <typename T>
T median(T* values, int64_t n) {
  std::nth_element(values, values + n / 2, values + n);
  return values[n / 2];
}

template <typename T>
BucketMap<T> bucket_map(const Pool<T>& pool) {
  constexpr int64_t kMaxSample = 1024;
  T sample[kMaxSample];
  BucketMap<T> map;
  const int64_t buckets = std::clamp<int64_t>(pool.size / kMeanBucket, 1, kMaxBuckets);
  const int64_t taken = buckets == 1 ? 0 : take_sample(pool, sample, std::min(2 * buckets, kMaxSample));
  if (taken == 0) return map;
  map.center = median(sample, taken);
  float distances[kMaxSample];
  for (int64_t j = 0; j < taken; ++j) distances[j] = std::abs(static_cast<float>(sample[j] - map.center));
  // Eight octaves to either side of the median distance.
  const int octave = std::ilogb(std::max(median(distances, taken), std::numeric_limits<float>::min()));
  map.nearest = static_cast<uint32_t>(std::clamp(octave + 127 - kCells / 4, 1, 254 - kCells / 2)) << kCellBits;
  int64_t counts[kCells] = {};
  for (int64_t j = 0; j < taken; ++j) ++counts[scale_place(sample[j], map.center, map.nearest) >> kCellBits];
  for (int64_t cell = 0, below = 0, first = 0; cell < kCells; ++cell) {
    below += counts[cell];
    const int64_t end = (2 * below * buckets + taken) / (2 * taken);
    map.cells[cell] = static_cast<uint32_t>(std::min(first, buckets - 1) | (end - first) << 16);
    first = end;
  }
  map.count = static_cast<int>(buckets);
  return map;
}

// The pool's elements (records, or keys alone), divided into buckets.
template <typename T, typename E>
class Buckets {
 public:
  Buckets(const Pool<T>& pool, const Executor& executor)
      : elements_(pool.size + kOverread), spare_(pool.size + kOverread), map_(bucket_map(pool)) {
    const Kernels<T>& k = kernels<T>();
    const int count = map_.count;
    Scratch<uint16_t> bucket(pool.size);
    // Each thread counts its own part, then puts it behind the parts before it: the order of the pixels stays.
    Scratch<uint32_t> counts(kParts * kTable);
    const auto part = [&](int64_t p) { return pool.size * p / kParts; };
    int64_t ends[kParts] = {};  // of the run of parts that one thread took, at its first part
    parallel_for(executor, 0, pool.size < kParallel ? 1 : kParts, 1, [&](int64_t begin, int64_t end) {
      if (pool.size < kParallel) end = kParts;
      ends[begin] = end;
      uint32_t* const own = counts.get() + begin * kTable;
      std::fill(own, own + count + 1, 0);
      const int64_t first = part(begin), n = part(end) - first;
      k.classify(pool.values + first, mask_from(pool, first), n, map_, bucket.get() + first, own);
    });
    for (int64_t p = 0; p < kParts; p = ends[p])
      for (int b = 0; b <= count; ++b) starts_[b + 1] += counts[p * kTable + b];
    for (int b = 0; b <= count; ++b) starts_[b + 1] += starts_[b];
    std::vector<int64_t> runs;
    for (int64_t p = 0; p < kParts; p = ends[p]) runs.push_back(p);
    for (int b = 0; b <= count; ++b) {
      uint32_t place = starts_[b];
      for (const int64_t p : runs) place += std::exchange(counts[p * kTable + b], place);
    }
    parallel_for(executor, 0, static_cast<int64_t>(runs.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t first = part(runs[r]), n = part(ends[runs[r]]) - first;
        uint32_t* const places = counts.get() + runs[r] * kTable;
        if constexpr (std::is_same_v<E, Record<T>>)
          k.scatter(pool.values + first, bucket.get() + first, n, static_cast<uint32_t>(first), places,
                    elements_.get());
        else
          k.scatter_keys(pool.values + first, bucket.get() + first, n, places, elements_.get());
      }
    });
  }

  int64_t present() const { return starts_[map_.count]; }
  const E& operator[](int64_t i) const { return elements_[i]; }  // from present() on: what takes no part

  // visit(elements, spare, n, rank of the first) for each bucket of values that take part
  template <typename Visit>
  void for_each(const Executor& executor, Visit&& visit) {
    const int64_t grain = present() < kParallel ? map_.count : 16;
    parallel_for(executor, 0, map_.count, grain, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        visit(elements_.get() + starts_[b], spare_.get() + starts_[b], starts_[b + 1] - starts_[b], starts_[b]);
    });
  }

 private:
  static constexpr int64_t kParts = 16, kTable = kMaxBuckets + 1;

  Scratch<E> elements_, spare_;
  BucketMap<T> map_;
  uint32_t starts_[kMaxBuckets + 2] = {};  // what takes no part lies between starts[count] and starts[count + 1]
};

// The pool's pixels by value, ties in raster order, those that take no part last; returns how many take part.
template <typename T>
int64_t order(const Pool<T>& pool, uint32_t* out, const Executor& executor) {
  Buckets<T, Record<T>> buckets(pool, executor);
  buckets.for_each(executor, [&](Record<T>* records, Record<T>* spare, int64_t n, int64_t first) {
    kernels<T>().write_order(records, spare, n, out + first);
  });
  for (int64_t r = buckets.present(); r < pool.size; ++r) out[r] = buckets[r].index();
  return buckets.present();
}

template <typename T>
constexpr int64_t kCodes = int64_t{1} << (8 * sizeof(T));

// Adds to counts the codes of what takes part.
template <typename T>
void add_codes(const Pool<T>& pool, uint32_t* counts) {
  for (int64_t i = 0; i < pool.size; ++i)
    if (takes_part(pool, i)) ++counts[pool.values[i]];
}

// Eight bytes at a time, each with a table of its own: a count waits for the one before it where neighbours are equal.
inline void add_all_bytes(const uint8_t* values, int64_t n, uint32_t* counts) {
  constexpr int kTables = 8;
  uint32_t tables[kTables][256] = {};
  int64_t i = 0;
  for (; i + kTables <= n; i += kTables) {
    uint64_t bytes;
    std::memcpy(&bytes, values + i, sizeof bytes);
    for (int t = 0; t < kTables; ++t) ++tables[t][bytes >> (8 * t) & 255];
  }
  for (; i < n; ++i) ++tables[0][values[i]];
  for (int code = 0; code < 256; ++code)
    for (int t = 0; t < kTables; ++t) counts[code] += tables[t][code];
}

template <typename T>
void count_codes(const Pool<T>& pool, uint32_t* counts, const Executor& executor) {
  std::fill(counts, counts + kCodes<T>, 0);
  if constexpr (sizeof(T) == 1) {
    if (pool.mask != nullptr) return add_codes(pool, counts);
    constexpr int64_t kParts = 16;
    uint32_t parts[kParts][256] = {};
    const auto part = [&](int64_t p) { return pool.size * p / kParts; };
    parallel_for(executor, 0, kParts, pool.size < kParallel ? kParts : 1, [&](int64_t begin, int64_t end) {
      add_all_bytes(pool.values + part(begin), part(end) - part(begin), parts[begin]);
    });
    for (const auto& own : parts)
      for (int code = 0; code < 256; ++code) counts[code] += own[code];
  } else {
    add_codes(pool, counts);
  }
}

// What takes part, ascending; returns how many.
template <typename T>
int64_t sort_present(const Pool<T>& pool, T* sorted, const Executor& executor) {
  if constexpr (std::is_integral_v<T>) {
    Scratch<uint32_t> counts(kCodes<T>);
    count_codes(pool, counts.get(), executor);
    T* end = sorted;
    for (int64_t code = 0; code < kCodes<T>; ++code) end = std::fill_n(end, counts[code], static_cast<T>(code));
    return end - sorted;
  } else {
    using K = typename Key<T>::type;
    Buckets<T, K> buckets(pool, executor);
    buckets.for_each(executor, [&](K* keys, K* spare, int64_t n, int64_t first) {
      kernels<T>().write_sorted(keys, spare, n, sorted + first);
    });
    return buckets.present();
  }
}

// ---- The reference ------------------------------------------------------------------------------------------------

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

// ---- Matching one segment -----------------------------------------------------------------------------------------

// The first index from `from` on whose value is that of the next one; sorted.size if there is none.
template <typename T>
int64_t next_tie(Sorted<T> sorted, int64_t from) {
  constexpr int64_t kStep = 32;
  const T* const s = sorted.values;
  for (; from + kStep < sorted.size; from += kStep) {
    int ties = 0;
    for (int64_t j = from; j < from + kStep; ++j) ties += s[j] == s[j + 1];
    if (ties != 0) break;
  }
  for (; from + 1 < sorted.size; ++from)
    if (s[from] == s[from + 1]) return from;
  return sorted.size;
}

// targets[r] is what the source value with r + 1 source values at or below it becomes. For as many source as reference
// values this is S[r], but by value inside runs of equal reference values.
template <typename T>
void fill_targets_of_equal_size(Sorted<T> sorted, Method method, T* targets) {
  const T* const s = sorted.values;
  std::copy(s, s + sorted.size, targets);
  if (method == Method::rank) return;
  for (int64_t begin = next_tie(sorted, 0), end; begin < sorted.size; begin = next_tie(sorted, end)) {
    end = begin + 1;
    while (end < sorted.size && s[end] == s[begin]) ++end;
    for (int64_t q = begin + 1; q < end; ++q)
      targets[q - 1] = result<T>(sorted, value_position({q, 0}, sorted.size, begin, end));
  }
}

template <typename T, typename R>
void fill_targets(Sorted<R> sorted, int64_t n, Method method, T* targets) {
  if constexpr (std::is_same_v<T, R>)
    if (n == sorted.size) return fill_targets_of_equal_size(sorted, method, targets);
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
void match_reals(const Pool<T>& source, Sorted<T> reference, Method method, T* out, const Executor& executor) {
  if (reference.size == 0) return copy_absent(source, out);
  Buckets<T, Record<T>> buckets(source, executor);
  const int64_t present = buckets.present();
  if (present < source.size) copy_absent(source, out);
  const bool direct = present == reference.size && method == Method::rank;
  const Scratch<T> own(direct ? 0 : present);
  const T* const targets = direct ? reference.values : own.get();
  if (!direct) fill_targets(reference, present, method, own.get());
  const auto write = method == Method::rank ? kernels<T>().write_by_rank : kernels<T>().write_by_value;
  buckets.for_each(executor, [&](Record<T>* records, Record<T>* spare, int64_t n, int64_t first) {
    write(records, spare, n, targets + first, out);
  });
}

// out = new_code(code) for the codes that take part, in raster order.
template <typename T, typename NewCode>
void map_codes(const Pool<T>& source, T* out, NewCode&& new_code) {
  const T* const values = source.values;  // copies: bytes written to out could be any object's
  const uint8_t* const mask = source.mask;
  const int64_t n = source.size;
  if (mask == nullptr) {
    for (int64_t i = 0; i < n; ++i) out[i] = new_code(values[i]);
    return;
  }
  for (int64_t i = 0; i < n; ++i) out[i] = mask[i] != 0 ? new_code(values[i]) : values[i];
}

template <typename T, typename R>
void match_integers(const Pool<T>& source, Sorted<R> reference, Method method, T* out, const Executor& executor) {
  if (reference.size == 0) return copy_absent(source, out);
  Scratch<uint32_t> counts(kCodes<T>);
  count_codes(source, counts.get(), executor);
  int64_t present = 0;
  for (int64_t code = 0; code < kCodes<T>; ++code) present += counts[code];
  if (method == Method::rank) {
    Scratch<T> targets(present);
    fill_targets(reference, present, method, targets.get());
    uint32_t below = 0;
    for (int64_t code = 0; code < kCodes<T>; ++code) below += std::exchange(counts[code], below);
    return map_codes(source, out, [t = targets.get(), next = counts.get()](T code) { return t[next[code]++]; });
  }
  Scratch<T> table(kCodes<T>);
  RunCursor<R> cursor(reference);
  int64_t below = 0;
  for (int64_t code = 0; code < kCodes<T>; ++code) {
    if (counts[code] == 0) continue;
    below += counts[code];
    table[code] = result<T>(reference, cursor.value_position(below, present));
  }
  if constexpr (sizeof(T) == 1) {
    if (source.mask == nullptr)
      return parallel_for(executor, 0, source.size, kParallel, [&](int64_t begin, int64_t end) {
        map_bytes()(table.get(), source.values + begin, end - begin, out + begin);
      });
  }
  map_codes(source, out, [t = table.get()](T code) { return t[code]; });
}

}  // namespace

template <typename T, typename R>
void match(const Segment<T>* segments, int64_t count, const Reference<R>* references, int64_t reference_count,
           Method method, const Executor& executor) {
  std::vector<Sorted<R>> sorted(reference_count);
  std::vector<std::unique_ptr<Scratch<R>>> storage(reference_count);
  const auto prepare = [&](int64_t i, const Executor& inner) {
    const Pool<R>& pool = references[i].pool;
    if (references[i].is_sorted) {
      sorted[i] = {pool.values, count_present(pool.values, pool.size)};
      return;
    }
    storage[i] = std::make_unique<Scratch<R>>(pool.size);
    sorted[i] = {storage[i]->get(), sort_present(pool, storage[i]->get(), inner)};
  };
  for_pools(executor, reference_count, [&](int64_t i) { return references[i].pool.size; }, prepare);
  const auto run = [&](int64_t i, const Executor& inner) {
    const Segment<T>& s = segments[i];
    if constexpr (std::is_integral_v<T>)
      match_integers(s.source, sorted[s.reference], method, s.out, inner);
    else
      match_reals(s.source, sorted[s.reference], method, s.out, inner);
  };
  for_pools(executor, count, [&](int64_t i) { return segments[i].source.size; }, run);
}

template <typename T>
void sort(const Pool<T>* pools, T* const* sorted, int64_t count, const Executor& executor) {
  const auto run = [&](int64_t i, const Executor& inner) {
    const int64_t present = sort_present(pools[i], sorted[i], inner);
    std::fill(sorted[i] + present, sorted[i] + pools[i].size, value_of<T>(Key<T>::absent));
  };
  for_pools(executor, count, [&](int64_t i) { return pools[i].size; }, run);
}

// ---- The derivative by the reference ------------------------------------------------------------------------------

namespace {

// Calls visit(source pixel, lower reference pixel, upper reference pixel, weight of the upper one), in the order of the
// source values.
template <typename T, typename Visit>
void for_entries(const LinearSegment<T>& s, Method method, const Executor& executor, Visit&& visit) {
  Scratch<uint32_t> source_order(s.source.size), reference_order(s.reference.size);
  const int64_t n = order(s.source, source_order.get(), executor);
  const int64_t m = order(s.reference, reference_order.get(), executor);
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
  const auto run = [&](int64_t i, const Executor& inner) {
    const LinearSegment<T>& s = segments[i];
    std::fill(s.out, s.out + s.source.size, T(0));
    for_entries(s, method, inner, [&](uint32_t pixel, uint32_t lower, uint32_t upper, double weight) {
      const double low = s.direction[lower];
      s.out[pixel] = static_cast<T>(weight == 0 ? low : (1 - weight) * low + weight * s.direction[upper]);
    });
  };
  for_pools(executor, count, [&](int64_t i) { return segments[i].source.size; }, run);
}

template <typename T>
void adjoint(const LinearSegment<T>* segments, int64_t count, Method method, const Executor& executor) {
  const auto run = [&](int64_t i, const Executor& inner) {
    const LinearSegment<T>& s = segments[i];
    Scratch<double> sums(s.reference.size);
    std::fill(sums.get(), sums.get() + s.reference.size, 0.0);
    for_entries(s, method, inner, [&](uint32_t pixel, uint32_t lower, uint32_t upper, double weight) {
      sums[lower] += (1 - weight) * s.direction[pixel];
      if (weight != 0) sums[upper] += weight * s.direction[pixel];
    });
    for (int64_t j = 0; j < s.reference.size; ++j) s.out[j] = static_cast<T>(sums[j]);
  };
  for_pools(executor, count, [&](int64_t i) { return segments[i].source.size; }, run);
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
