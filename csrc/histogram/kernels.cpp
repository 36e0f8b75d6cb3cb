#include "histogram/kernels.h"

#if defined(__AVX512VBMI__)
#include <immintrin.h>
#endif

#include "common/simd.h"

namespace genimg::histogram::GENIMG_ISA {
namespace {

constexpr int kLanes = GENIMG_VECTOR_BYTES / 4;
constexpr int kMaxRegisters = 32;
constexpr int kMaxSmall = kMaxRegisters * kLanes;  // the largest bucket that a network sorts
static_assert(kMaxSmall <= kOverread);

// ---- A sorting network on 32-bit words in vector registers --------------------------------------------------------
//
// R registers of kLanes words. First Batcher's odd-even merge sort across the registers sorts each lane; then bitonic
// merges join runs of 1, 2, 4 ... neighbouring lanes. The sorted sequence runs down the registers of lane 0, then
// lane 1.

GENIMG_HD void exchange(u32v& a, u32v& b) {
  const u32v low = a < b ? a : b;
  b = a < b ? b : a;
  a = low;
}

template <int X>
GENIMG_HD u32v xor_lanes(u32v v) {
  u32v from;
  for (int i = 0; i < kLanes; ++i) from[i] = i ^ X;
  return __builtin_shuffle(v, from);
}

// The smaller of v and other in the lanes without the bit, the larger in those with it.
template <int Bit>
GENIMG_HD u32v split(u32v v, u32v other) {
  i32v upper;
  for (int i = 0; i < kLanes; ++i) upper[i] = i & Bit ? -1 : 0;
  return upper ? (v < other ? other : v) : (v < other ? v : other);
}

template <int R, int P, int K, int J, int I = 0>
GENIMG_HD void batcher_run(u32v* v) {
  if constexpr (I < K && I + J + K < R) {
    if constexpr ((I + J) / (2 * P) == (I + J + K) / (2 * P)) exchange(v[I + J], v[I + J + K]);
    batcher_run<R, P, K, J, I + 1>(v);
  }
}
template <int R, int P, int K, int J>
GENIMG_HD void batcher_step(u32v* v) {
  if constexpr (J + K < R) {
    batcher_run<R, P, K, J>(v);
    batcher_step<R, P, K, J + 2 * K>(v);
  }
}
template <int R, int P, int K>
GENIMG_HD void batcher_merge(u32v* v) {
  batcher_step<R, P, K, K % P>(v);
  if constexpr (K > 1) batcher_merge<R, P, K / 2>(v);
}
template <int R, int P = 1>
GENIMG_HD void sort_lanes(u32v* v) {
  if constexpr (P < R) {
    batcher_merge<R, P, P>(v);
    sort_lanes<R, 2 * P>(v);
  }
}

template <int R, int D, int I = 0>
GENIMG_HD void register_stages(u32v* v) {
  if constexpr (D >= 1 && I < R) {
    if constexpr ((I & D) == 0) exchange(v[I], v[I + D]);
    register_stages<R, D, I + 1>(v);
  } else if constexpr (D >= 1) {
    register_stages<R, D / 2>(v);
  }
}
template <int R, int Bit, int I = 0>
GENIMG_HD void lane_stages(u32v* v) {
  if constexpr (Bit >= 1 && I < R) {
    v[I] = split<Bit>(v[I], xor_lanes<Bit>(v[I]));
    lane_stages<R, Bit, I + 1>(v);
  } else if constexpr (Bit >= 1) {
    lane_stages<R, Bit / 2>(v);
  }
}
// Each word of a run against its mirror image in the neighbouring run.
template <int R, int W, int I = 0>
GENIMG_HD void mirror_stage(u32v* v) {
  if constexpr (R == 1) {
    v[0] = split<W>(v[0], xor_lanes<2 * W - 1>(v[0]));
  } else if constexpr (I < R / 2) {
    const u32v a = v[I], b = v[R - 1 - I];
    v[I] = split<W>(a, xor_lanes<2 * W - 1>(b));
    v[R - 1 - I] = split<W>(b, xor_lanes<2 * W - 1>(a));
    mirror_stage<R, W, I + 1>(v);
  }
}
template <int R, int W = 1>
GENIMG_HD void merge_lanes(u32v* v) {
  if constexpr (W < kLanes) {
    mirror_stage<R, W>(v);
    lane_stages<R, W / 2>(v);
    register_stages<R, R / 2>(v);
    merge_lanes<R, 2 * W>(v);
  }
}

// From down the registers to along them: a perfect shuffle of the first and the second half moves the highest bit of
// each word's place to the end; log2(R) of them move the register's number behind the lane's.
template <int Offset>
GENIMG_HD u32v zip(u32v a, u32v b) {
  u32v from;
  for (int i = 0; i < kLanes; ++i) from[i] = (i % 2) * kLanes + i / 2 + Offset;
  return __builtin_shuffle(a, b, from);
}
template <int R, int Rounds>
GENIMG_HD void interleave(u32v* v) {
  if constexpr (Rounds > 1) {
    u32v shuffled[R];
#pragma GCC unroll 32
    for (int i = 0; i < R / 2; ++i) {
      shuffled[2 * i] = zip<0>(v[i], v[i + R / 2]);
      shuffled[2 * i + 1] = zip<kLanes / 2>(v[i], v[i + R / 2]);
    }
#pragma GCC unroll 32
    for (int i = 0; i < R; ++i) v[i] = shuffled[i];
    interleave<R, Rounds / 2>(v);
  }
}

// Sorts R * kLanes words; out receives them, masked.
template <int R, typename U>
__attribute__((noinline)) void network(const uint32_t* words, uint32_t mask, U* out) {
  u32v v[R];
  for (int i = 0; i < R; ++i) v[i] = load<u32v>(words + i * kLanes);
  sort_lanes<R>(v);
  merge_lanes<R>(v);
  interleave<R, R>(v);
  typedef U narrow __attribute__((vector_size(kLanes * sizeof(U))));
  for (int i = 0; i < R; ++i) store(out + i * kLanes, __builtin_convertvector(v[i] & mask, narrow));
}

// Registers for n words.
int registers_for(int n) {
  int registers = 1;
  while (registers * kLanes < n) registers *= 2;
  return registers;
}

template <typename U>
void sort_words(const uint32_t* words, int registers, uint32_t mask, U* out) {
  switch (registers) {
    case 1:
      return network<1>(words, mask, out);
    case 2:
      return network<2>(words, mask, out);
    case 4:
      return network<4>(words, mask, out);
    case 8:
      return network<8>(words, mask, out);
    case 16:
      return network<16>(words, mask, out);
    default:
      return network<32>(words, mask, out);
  }
}

// ---- Small buckets ------------------------------------------------------------------------------------------------

int bit_length(uint64_t x) { return x == 0 ? 0 : 64 - __builtin_clzll(x); }

// What a bucket is made of: records, or keys alone.
template <typename T>
typename Key<T>::type key_in(const Record<T>& record) {
  return record.key();
}
uint32_t key_in(uint32_t key) { return key; }
uint64_t key_in(uint64_t key) { return key; }

template <typename K>
struct KeyRange {
  K low, high;
};

template <typename K, typename E>
KeyRange<K> key_range(const E* elements, int64_t n) {
  K low = ~K(0), high = 0;
  for (int64_t i = 0; i < n; ++i) {
    const K key = key_in(elements[i]);
    low = key < low ? key : low;
    high = key > high ? key : high;
  }
  return {low, high};
}

// The vector loops below run over whole registers, since short loops of varying length cost a wrong branch each: they
// read up to kOverread elements beyond a bucket, and take all ones for what lies there.
GENIMG_HD u32v places_from(int first) {
  u32v place;
  for (int i = 0; i < kLanes; ++i) place[i] = i;
  return place + static_cast<uint32_t>(first);
}
GENIMG_HD u32v beyond(u32v place, int n) { return (u32v)(place >= static_cast<uint32_t>(n)); }

GENIMG_HD u32v keys_at(const uint32_t* keys, int i) { return load<u32v>(keys + i); }
GENIMG_HD u32v keys_at(const Record<float>* records, int i) {
  u32v odd;
  for (int k = 0; k < kLanes; ++k) odd[k] = 2 * k + 1;
  return __builtin_shuffle(load<u32v>(records + i), load<u32v>(records + i + kLanes / 2), odd);
}

template <int Distance>
GENIMG_HD uint32_t least_lane(u32v v) {
  const u32v other = xor_lanes<Distance>(v), least = v < other ? v : other;
  if constexpr (Distance > 1)
    return least_lane<Distance / 2>(least);
  else
    return least[0];
}

// A bucket's elements as words: the key above the smallest one, without its lowest `shift` bits, then the place.
struct Packed {
  bool all_equal;
  int shift;
};

int shift_for(uint64_t span, int place_bits) {
  const int excess = bit_length(span) - (32 - place_bits);
  return excess > 0 ? excess : 0;
}

template <typename E>
Packed pack(const E* elements, int n, int size, int place_bits, uint32_t* words, uint32_t) {
  u32v lowest = ~u32v{}, highest{};
  for (int i = 0; i < size; i += kLanes) {
    const u32v key = keys_at(elements, i), out = beyond(places_from(i), n), low = key | out, high = key & ~out;
    lowest = low < lowest ? low : lowest;
    highest = high > highest ? high : highest;
    store(words + i, low);
  }
  const uint32_t low = least_lane<kLanes / 2>(lowest), high = ~least_lane<kLanes / 2>(~highest);
  const int shift = shift_for(high - low, place_bits);
  for (int i = 0; i < size; i += kLanes) {
    const u32v place = places_from(i);
    store(words + i, ((load<u32v>(words + i) - low) >> shift) << place_bits | place | beyond(place, n));
  }
  return {low == high, shift};
}

template <typename E>
Packed pack(const E* elements, int n, int size, int place_bits, uint32_t* words, uint64_t) {
  const KeyRange<uint64_t> range = key_range<uint64_t>(elements, n);
  const int shift = shift_for(range.high - range.low, place_bits);
  for (int i = 0; i < n; ++i)
    words[i] = static_cast<uint32_t>((key_in(elements[i]) - range.low) >> shift) << place_bits | i;
  for (int i = n; i < size; ++i) words[i] = 0xffffffffu;
  return {range.low == range.high, shift};
}

// Keys that differ only in the bits shifted out are neighbours, in order of place: insert them.
template <typename E>
void insert_neighbours(const E* elements, int n, uint32_t* order) {
  for (int r = 1; r < n; ++r) {
    const uint32_t place = order[r];
    const auto key = key_in(elements[place]);
    int to = r;
    for (; to > 0 && key_in(elements[order[to - 1]]) > key; --to) order[to] = order[to - 1];
    order[to] = place;
  }
}

// Puts the n <= kMaxSmall elements of a bucket in order and hands them to the writer.
template <typename E, typename Writer>
void sort_small(const E* elements, int64_t begin, int n, const Writer& writer) {
  alignas(64) uint32_t words[kMaxSmall];
  alignas(64) uint32_t order[kMaxSmall];
  const int registers = registers_for(n), size = registers * kLanes;
  const Packed packed = pack(elements, n, size, bit_length(size - 1), words, key_in(elements[0]));
  if (packed.all_equal) return writer.equal(elements, begin, n);
  sort_words(words, registers, size - 1, order);
  if (packed.shift > 0) insert_neighbours(elements, n, order);
  writer.ordered(elements, begin, n, order);
}

// ---- Writers: what becomes of a sorted bucket ---------------------------------------------------------------------

template <typename T>
struct ByRank {
  const T* targets;
  T* out;
  void equal(const Record<T>* records, int64_t begin, int64_t n) const {
    for (int64_t r = 0; r < n; ++r) out[records[r].index()] = targets[begin + r];
  }
  void ordered(const Record<T>* records, int64_t begin, int n, const uint32_t* order) const {
    for (int r = 0; r < n; ++r) out[records[order[r]].index()] = targets[begin + r];
  }
};

template <typename T>
struct ByValue {
  const T* targets;
  T* out;
  void equal(const Record<T>* records, int64_t begin, int64_t n) const {
    for (int64_t r = 0; r < n; ++r) out[records[r].index()] = targets[begin + n - 1];
  }
  void ordered(const Record<T>* records, int64_t begin, int n, const uint32_t* order) const {
    int last = n - 1;
    typename Key<T>::type above = records[order[last]].key();
    for (int r = n - 1; r >= 0; --r) {
      const Record<T>& record = records[order[r]];
      last = record.key() == above ? last : r;
      above = record.key();
      out[record.index()] = targets[begin + last];
    }
  }
};

template <typename T>
struct Order {
  uint32_t* order_out;
  void equal(const Record<T>* records, int64_t begin, int64_t n) const {
    for (int64_t r = 0; r < n; ++r) order_out[begin + r] = records[r].index();
  }
  void ordered(const Record<T>* records, int64_t begin, int n, const uint32_t* order) const {
    for (int r = 0; r < n; ++r) order_out[begin + r] = records[order[r]].index();
  }
};

template <typename T>
struct Values {
  using K = typename Key<T>::type;
  T* sorted;
  void equal(const K* keys, int64_t begin, int64_t n) const {
    for (int64_t r = 0; r < n; ++r) sorted[begin + r] = value_of<T>(keys[r]);
  }
  void ordered(const K* keys, int64_t begin, int n, const uint32_t* order) const {
    for (int r = 0; r < n; ++r) sorted[begin + r] = value_of<T>(keys[order[r]]);
  }
};

// 32-bit keys alone are words themselves.
void sort_small(const uint32_t* keys, int64_t begin, int n, const Values<float>& writer) {
  alignas(64) uint32_t words[kMaxSmall], sorted[kMaxSmall];
  const int registers = registers_for(n);
  for (int i = 0; i < registers * kLanes; i += kLanes) store(words + i, keys_at(keys, i) | beyond(places_from(i), n));
  sort_words(words, registers, 0xffffffffu, sorted);
  for (int r = 0; r < n; ++r) writer.sorted[begin + r] = value_of<float>(sorted[r]);
}

// ---- Buckets of any size ------------------------------------------------------------------------------------------

template <typename K, typename E, typename Writer>
void sort_bucket(E* elements, E* spare, int64_t begin, int64_t n, const Writer& writer);

// Divides by an affine map of the key, sorts each part, with spare as its elements.
template <typename K, typename E, typename Writer>
void divide(const E* elements, E* parts, E* spare, KeyRange<K> range, int64_t begin, int64_t n, const Writer& writer) {
  constexpr int kParts = 256;
  const int excess = bit_length(range.high - range.low) - 32, shift = excess > 0 ? excess : 0;
  const uint64_t span = (static_cast<uint64_t>(range.high - range.low) >> shift) + 1;
  const uint64_t scale = (static_cast<uint64_t>(kParts) << 32) / span;
  const auto part_of = [&](const E& element) {
    return static_cast<int>((((key_in(element) - range.low) >> shift) * scale) >> 32);
  };
  int64_t places[kParts + 1] = {};
  for (int64_t i = 0; i < n; ++i) ++places[part_of(elements[i]) + 1];
  for (int p = 0; p < kParts; ++p) places[p + 1] += places[p];
  for (int64_t i = 0; i < n; ++i) parts[places[part_of(elements[i])]++] = elements[i];
  for (int64_t p = 0, start = 0; p < kParts; start = places[p++])
    sort_bucket<K>(parts + start, spare + start, begin + start, places[p] - start, writer);
}

template <typename K, typename E, typename Writer>
void sort_bucket(E* elements, E* spare, int64_t begin, int64_t n, const Writer& writer) {
  if (n <= 1) return writer.equal(elements, begin, n);
  if (n <= kMaxSmall) return sort_small(elements, begin, static_cast<int>(n), writer);
  const KeyRange<K> range = key_range<K>(elements, n);
  if (range.low == range.high) return writer.equal(elements, begin, n);
  divide<K>(elements, spare, elements, range, begin, n, writer);
}

template <typename T>
void write_by_rank(Record<T>* records, Record<T>* spare, int64_t n, const T* targets, T* out) {
  sort_bucket<typename Key<T>::type>(records, spare, 0, n, ByRank<T>{targets, out});
}
template <typename T>
void write_by_value(Record<T>* records, Record<T>* spare, int64_t n, const T* targets, T* out) {
  sort_bucket<typename Key<T>::type>(records, spare, 0, n, ByValue<T>{targets, out});
}
template <typename T>
void write_order(Record<T>* records, Record<T>* spare, int64_t n, uint32_t* order) {
  sort_bucket<typename Key<T>::type>(records, spare, 0, n, Order<T>{order});
}
template <typename T>
void write_sorted(typename Key<T>::type* keys, typename Key<T>::type* spare, int64_t n, T* sorted) {
  sort_bucket<typename Key<T>::type>(keys, spare, 0, n, Values<T>{sorted});
}

// ---- Division of a pool into buckets ------------------------------------------------------------------------------

// Values are taken in blocks that stay in the first cache, one step after the other: such loops become vectors.
constexpr int kBlock = 1024;

// The buckets of places on the scale of the cells.
void look_up(const uint32_t* cells, const uint32_t* places, int n, uint16_t* buckets) {
  constexpr uint32_t kWithin = (1u << kCellBits) - 1;
  const auto bucket = [](auto place, auto cell) {
    return (cell & 0xffff) + ((((place & kWithin) >> 4) * (cell >> 16)) >> (kCellBits - 4));
  };
  int i = 0;
  if constexpr (2 * kLanes == kCells) {
    typedef uint16_t narrow __attribute__((vector_size(2 * kLanes)));
    const u32v low = load<u32v>(cells), high = load<u32v>(cells + kLanes);
    for (; i + kLanes <= n; i += kLanes) {
      const u32v place = load<u32v>(places + i);
      const u32v found = bucket(place, __builtin_shuffle(low, high, place >> kCellBits));
      store(buckets + i, __builtin_convertvector(found, narrow));
    }
  }
  for (; i < n; ++i) buckets[i] = static_cast<uint16_t>(bucket(places[i], cells[places[i] >> kCellBits]));
}

template <typename T>
void classify(const T* values, const uint8_t* mask, int64_t n, const BucketMap<T>& map, uint16_t* buckets,
              uint32_t* counts) {
  // Two tables: neighbouring pixels often share a bucket, and a count waits for the one before it.
  uint32_t others[kMaxBuckets + 1];
  for (int b = 0; b <= map.count; ++b) others[b] = 0;
  alignas(64) uint32_t places[kBlock];
  const T center = map.center;
  const uint32_t nearest = map.nearest;
  const uint16_t absent = static_cast<uint16_t>(map.count);
  for (int64_t start = 0; start < n; start += kBlock, values += kBlock, buckets += kBlock) {
    const int size = n - start < kBlock ? static_cast<int>(n - start) : kBlock;
    for (int i = 0; i < size; ++i) places[i] = scale_place(values[i], center, nearest);
    look_up(map.cells, places, size, buckets);
    for (int i = 0; i < size; ++i) buckets[i] = values[i] == values[i] ? buckets[i] : absent;
    if (mask != nullptr)
      for (int i = 0; i < size; ++i) buckets[i] = mask[start + i] != 0 ? buckets[i] : absent;
    for (int i = 0; i + 1 < size; i += 2) {
      ++counts[buckets[i]];
      ++others[buckets[i + 1]];
    }
    if (size % 2 != 0) ++counts[buckets[size - 1]];
  }
  for (int b = 0; b <= map.count; ++b) counts[b] += others[b];
}

// visit(i, key of values[i]) for all i.
template <typename T, typename Visit>
void for_keys(const T* values, int64_t n, Visit&& visit) {
  alignas(64) typename Key<T>::type keys[kBlock];
  for (int64_t start = 0; start < n; start += kBlock) {
    const int size = n - start < kBlock ? static_cast<int>(n - start) : kBlock;
    for (int i = 0; i < size; ++i) keys[i] = key_of(values[start + i]);
    for (int i = 0; i < size; ++i) visit(start + i, keys[i]);
  }
}

template <typename T>
void scatter(const T* values, const uint16_t* buckets, int64_t n, uint32_t first, uint32_t* places,
             Record<T>* records) {
  for_keys(values, n, [=](int64_t i, typename Key<T>::type key) {
    records[places[buckets[i]]++] = Record<T>::make(key, first + static_cast<uint32_t>(i));
  });
}

template <typename T>
void scatter_keys(const T* values, const uint16_t* buckets, int64_t n, uint32_t* places, typename Key<T>::type* keys) {
  for_keys(values, n, [=](int64_t i, typename Key<T>::type key) { keys[places[buckets[i]]++] = key; });
}

template <typename T>
constexpr Kernels<T> table() {
  return {&classify<T>,       &scatter<T>,     &scatter_keys<T>, &write_by_rank<T>,
          &write_by_value<T>, &write_order<T>, &write_sorted<T>};
}

void map_bytes(const uint8_t* table, const uint8_t* codes, int64_t n, uint8_t* out) {
  int64_t i = 0;
#if defined(__AVX512VBMI__)
  // The table in four registers: two instructions look up 64 codes in either half, their highest bit says which.
  __m512i parts[4];
  for (int j = 0; j < 4; ++j) parts[j] = _mm512_loadu_si512(table + 64 * j);
  for (; i + 64 <= n; i += 64) {
    const __m512i code = _mm512_loadu_si512(codes + i);
    const __m512i low = _mm512_permutex2var_epi8(parts[0], code, parts[1]);
    const __m512i high = _mm512_permutex2var_epi8(parts[2], code, parts[3]);
    _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), low, high));
  }
#endif
  for (; i < n; ++i) out[i] = table[codes[i]];
}

}  // namespace

extern const MapBytes byte_map = &map_bytes;
extern const Kernels<float> float_kernels = table<float>();
extern const Kernels<double> double_kernels = table<double>();

}  // namespace genimg::histogram::GENIMG_ISA
