// Histogram matching on CUDA. Sources and references are sorted together (cuda_sort.cuh), then every rank of a source
// looks up its number among the sorted keys of its reference and writes it to the pixel that the rank belongs to.
//
// Floor for n float32 pixels and as many reference values: the sort of both, then 4 (rank) + 4 (key) + 4 (reference
// key)
// + 4 (result) bytes a pixel. The results go to pixels in the order of their values, so that each of them touches a
// sector of its own: 32 bytes are moved for 4 unless the image stays in the second-level cache.
//
// uint8 by value needs no sort: 256 counters a row, a table of 256 results, and the pixels read a second time.
#include "histogram/cuda.h"

#include <limits.h>

#include <type_traits>

#include "common/cuda_launch.h"
#include "histogram/cuda_sort.cuh"

namespace genimg::histogram::cuda {
namespace {

// ---- What is sorted -------------------------------------------------------------------------------------------------

// The order of the reference's type R serves both sides; U is what the result is interpolated in.
template <typename T, typename R, bool = std::is_integral_v<R>>
struct Order {
  using KeyType = typename Key<R>::type;
  using Number = std::conditional_t<std::is_integral_v<T>, double, R>;
  static constexpr KeyType absent = Key<R>::absent;
  static constexpr int bits = 8 * sizeof(R), masked_bits = bits;
  template <typename X>
  GENIMG_HD KeyType key(X x) {
    return key_of(static_cast<R>(x));
  }
  GENIMG_HD Number number(KeyType key) { return value_of<R>(key); }
};
// Integers are their own keys; the one above them all needs a digit more.
template <typename T, typename R>
struct Order<T, R, true> {
  using KeyType = uint32_t;
  using Number = double;
  static constexpr KeyType absent = kNoKey<uint32_t>;
  static constexpr int bits = 8 * sizeof(R), masked_bits = bits + kDigitBits;
  GENIMG_HD KeyType key(R x) { return x; }
  GENIMG_HD Number number(KeyType key) { return key; }
};

// Groups 0 .. sources - 1 are images of type T, those behind them references of type R.
struct Arrays {
  int sources = 0;
  const void* values[kMaxGroups] = {};
  const uint8_t* mask[kMaxGroups] = {};
};

template <typename T, typename R>
struct NumberKeys {
  using O = Order<T, R>;
  Arrays arrays;
  __device__ __forceinline__ typename O::KeyType operator()(const Chunk& chunk, uint32_t i) const {
    const int64_t at = chunk.offset + i;
    const uint8_t* mask = arrays.mask[chunk.group];
    if (mask != nullptr && mask[at] == 0) return O::absent;
    const void* values = arrays.values[chunk.group];
    return chunk.group < arrays.sources ? O::key(static_cast<const T*>(values)[at])
                                        : O::key(static_cast<const R*>(values)[at]);
  }
};

template <typename KeyType>
struct StoredKeys {
  const KeyType* keys;
  __device__ __forceinline__ KeyType operator()(const Chunk& chunk, uint32_t i) const {
    return keys[chunk.element + i];
  }
};

// ---- Ranks to numbers -----------------------------------------------------------------------------------------------

// Sorted source and reference of a row.
template <typename KeyType>
struct Row {
  const KeyType *source, *reference;
  int64_t n, m;  // how many take part
  int64_t reference_element;
};

template <typename KeyType>
__device__ __forceinline__ int64_t count_keys(const KeyType* sorted, int64_t size) {
  if (size == 0 || sorted[size - 1] != kNoKey<KeyType>) return size;
  return run_begin(sorted, 0, size, kNoKey<KeyType>);
}

template <typename KeyType>
__device__ __forceinline__ Row<KeyType> find_row(const Layout& layout, int sources, const Chunk& source,
                                                 const KeyType* sorted) {
  const int g = sources + source.group;
  const Group& group = layout.group[g];
  Row<KeyType> row;
  row.source = sorted + source.element;
  row.reference_element = group.first_element + source.segment % rows_of(layout, g) * segment_stride(group);
  row.reference = sorted + row.reference_element;
  row.n = count_keys(row.source, layout.group[source.group].size);
  row.m = count_keys(row.reference, group.size);
  return row;
}

template <typename KeyType>
__device__ __forceinline__ Position find_position(const Row<KeyType>& row, Method method, int64_t r) {
  if (method == Method::rank) return rank_position(r, row.n, row.m);
  return find_value_position(run_end_around(row.source, r, row.n), row.n, row.reference, row.m);
}

template <typename T, typename Number>
__device__ __forceinline__ T as_pixel(Number x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(round_to_even(x, static_cast<T>(~T{0})));
  } else {
    return x;
  }
}

constexpr int kThreads = 256;
constexpr int kParts = 8;

// A part of a chunk. Kernels that take each rank by itself share a chunk among blocks: one image would leave most of a
// device idle otherwise.
__device__ __forceinline__ Chunk find_part(const Layout& layout, int64_t id) {
  Chunk part = find_chunk(layout, id / kParts);
  const uint32_t size = layout.chunk_size / kParts;
  part.begin += static_cast<uint32_t>(id % kParts) * size;
  part.end = min(part.end, part.begin + size);
  return part;
}

// The keys alone, of the chunks from first_chunk on: for references that come sorted.
template <typename KeyType, typename Keys>
__global__ void __launch_bounds__(kThreads) keep_keys(const __grid_constant__ Layout layout, int64_t first_chunk,
                                                      const __grid_constant__ Keys keys, KeyType* __restrict__ kept) {
  const Chunk part = find_part(layout, first_chunk * kParts + blockIdx.x);
  for (uint32_t i = part.begin + threadIdx.x; i < part.end; i += kThreads) kept[part.element + i] = keys(part, i);
}

template <typename T>
struct Outputs {
  T* out[kMaxBatches] = {};
};

template <typename T, typename R>
__global__ void __launch_bounds__(kThreads)
    match_ranks(const __grid_constant__ Layout layout, const __grid_constant__ Arrays arrays,
                const __grid_constant__ Outputs<T> outputs, Method method,
                Pairs<const typename Order<T, R>::KeyType> sorted) {
  using O = Order<T, R>;
  const Chunk part = find_part(layout, blockIdx.x);
  const auto row = find_row(layout, arrays.sources, part, sorted.keys);
  const T* source = static_cast<const T*>(arrays.values[part.group]) + part.offset;
  T* out = outputs.out[part.group] + part.offset;
  for (uint32_t r = part.begin + threadIdx.x; r < part.end; r += kThreads) {
    const uint32_t pixel = sorted.positions[part.element + r];
    if (r >= row.n || row.m == 0) {
      out[pixel] = source[pixel];
      continue;
    }
    const Position p = find_position(row, method, r);
    out[pixel] = as_pixel<T>(mix(O::number(row.reference[p.lower]), O::number(row.reference[p.upper]), p.weight));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    write_sorted(const __grid_constant__ Layout layout, const typename Key<T>::type* __restrict__ keys,
                 T* __restrict__ out) {
  const Chunk part = find_part(layout, blockIdx.x);
  for (uint32_t i = part.begin + threadIdx.x; i < part.end; i += kThreads)
    out[part.offset + i] = value_of<T>(keys[part.element + i]);
}

// ---- The derivative by the reference --------------------------------------------------------------------------------

template <typename T>
__global__ void __launch_bounds__(kThreads)
    tangent_ranks(const __grid_constant__ Layout layout, const T* __restrict__ direction, T* __restrict__ out,
                  Method method, Pairs<const typename Key<T>::type> sorted) {
  const Chunk part = find_part(layout, blockIdx.x);
  const auto row = find_row(layout, 1, part, sorted.keys);
  const uint32_t* pixels = sorted.positions + row.reference_element;
  direction += part.segment * layout.group[1].size;
  for (uint32_t r = part.begin + threadIdx.x; r < part.end; r += kThreads) {
    double sum = 0;
    if (r < row.n && row.m > 0) {
      const Position p = find_position(row, method, r);
      sum = (1 - p.weight) * direction[pixels[p.lower]] + p.weight * direction[pixels[p.upper]];
    }
    out[part.offset + sorted.positions[part.element + r]] = static_cast<T>(sum);
  }
}

// What flows back from each rank of the source to the two reference values that its number lies between. Both ranks of
// reference values rise with that of the source.
template <typename T>
struct Flows {
  uint32_t *lower, *upper;
  T *to_lower, *to_upper;
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    rank_flows(const __grid_constant__ Layout layout, const T* __restrict__ direction, Method method,
               Pairs<const typename Key<T>::type> sorted, Flows<T> flows) {
  const Chunk part = find_part(layout, blockIdx.x);
  const auto row = find_row(layout, 1, part, sorted.keys);
  if (row.m == 0) return;
  for (uint32_t r = part.begin + threadIdx.x; r < part.end && r < row.n; r += kThreads) {
    const Position p = find_position(row, method, r);
    const int64_t at = part.element + r;
    const double d = direction[part.offset + sorted.positions[at]];
    flows.lower[at] = static_cast<uint32_t>(p.lower);
    flows.upper[at] = static_cast<uint32_t>(p.upper);
    flows.to_lower[at] = static_cast<T>((1 - p.weight) * d);
    flows.to_upper[at] = static_cast<T>(p.weight * d);
  }
}

// What flows to reference value j from the elements begin, begin + step, ... before end.
template <typename T>
__device__ __forceinline__ double sum_flows(const Flows<T>& flows, uint32_t j, int64_t begin, int64_t end,
                                            unsigned step) {
  double sum = 0;
  for (int64_t i = begin; i < end; i += step) {
    if (flows.lower[i] == j) sum += flows.to_lower[i];
    if (flows.upper[i] == j) sum += flows.to_upper[i];
  }
  return sum;
}

// Gathers for each reference value. The ranks that flow to it are an interval: a lane sums a short one by itself; the
// whole warp takes the long ones, one after another, and adds its lanes as a tree. So the order is always the same.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    adjoint_ranks(const __grid_constant__ Layout layout, int64_t first_chunk, T* __restrict__ out,
                  Pairs<const typename Key<T>::type> sorted, Flows<T> flows) {
  const Chunk part = find_part(layout, first_chunk * kParts + blockIdx.x);
  const Group& sources = layout.group[0];
  const int64_t source = sources.first_element + part.segment * segment_stride(sources);
  const int64_t m = count_keys(sorted.keys + part.element, layout.group[part.group].size);
  const int64_t n = m == 0 ? 0 : count_keys(sorted.keys + source, sources.size);
  const unsigned lane = threadIdx.x % kWarp;
  for (uint32_t base = part.begin + threadIdx.x - lane; base < part.end; base += kThreads) {
    const uint32_t j = base + lane;
    const int64_t begin = source + run_begin(flows.upper + source, 0, n, j);
    const int64_t end = source + run_end(flows.lower + source, begin - source, n, j);
    // Of a run of equal reference values only the last is a target; the flows around the others pass them by.
    const bool is_target = begin < end && (flows.upper[begin] == j || flows.lower[end - 1] == j);
    const bool is_long = is_target && end - begin > kWarp;
    double sum = is_target && !is_long ? sum_flows(flows, j, begin, end, 1) : 0;
    for (unsigned left = __ballot_sync(~0u, is_long); left != 0; left &= left - 1) {
      const int owner = __ffs(left) - 1;
      double part =
          sum_flows(flows, base + owner, __shfl_sync(~0u, begin, owner) + lane, __shfl_sync(~0u, end, owner), kWarp);
#pragma unroll
      for (int step = kWarp / 2; step > 0; step /= 2) part += __shfl_xor_sync(~0u, part, step);
      if (lane == static_cast<unsigned>(owner)) sum = part;
    }
    if (j < part.end) out[part.offset + sorted.positions[part.element + j]] = static_cast<T>(sum);
  }
}

// ---- uint8 by value: counters and a table ---------------------------------------------------------------------------

constexpr int kWordBytes = sizeof(uint4);
constexpr int kByteTile = kThreads * kWordBytes * 4;

// Visits the bytes [begin, end) of a chunk with all threads: whole 16-byte words where `wide`, one by one otherwise and
// at the ends of an array that does not begin at a word.
template <typename Word, typename Byte>
__device__ __forceinline__ void for_bytes(const uint8_t* bytes, uint32_t begin, uint32_t end, bool wide, Word word,
                                          Byte byte) {
  const uint32_t skip = static_cast<uint32_t>(-reinterpret_cast<uintptr_t>(bytes + begin) % kWordBytes);
  const uint32_t head = wide ? min(end, begin + skip) : end;
  const uint32_t tail = head + (end - head) / kWordBytes * kWordBytes;
  for (uint32_t i = begin + threadIdx.x; i < head; i += kThreads) byte(i);
  for (uint32_t i = head + threadIdx.x * kWordBytes; i < tail; i += kThreads * kWordBytes) word(i);
  for (uint32_t i = tail + threadIdx.x; i < end; i += kThreads) byte(i);
}

__device__ __forceinline__ uint4 load_word(const uint8_t* bytes) {
  return load_vector(reinterpret_cast<const uint4*>(bytes));
}

// The bytes of a chunk's segment, and their mask or null.
struct Bytes {
  const uint8_t *values, *mask;
};
__device__ __forceinline__ Bytes bytes_of(const Arrays& arrays, const Chunk& chunk) {
  const uint8_t* mask = arrays.mask[chunk.group];
  return {static_cast<const uint8_t*>(arrays.values[chunk.group]) + chunk.offset,
          mask == nullptr ? nullptr : mask + chunk.offset};
}

__global__ void __launch_bounds__(kThreads)
    count_bytes(const __grid_constant__ Layout layout, const __grid_constant__ Arrays arrays,
                uint32_t* __restrict__ counts) {
  constexpr int warps = kThreads / kWarp;
  __shared__ uint32_t warp_counts[warps][kDigits];
  const int t = threadIdx.x;
  uint32_t* own = warp_counts[t / kWarp];
  for (int d = t % kWarp; d < kDigits; d += kWarp) own[d] = 0;
  __syncwarp();
  const Chunk chunk = find_chunk(layout, blockIdx.x);
  const Bytes bytes = bytes_of(arrays, chunk);
  const auto count_four = [&](uint32_t four) {
#pragma unroll
    for (int shift = 0; shift < 32; shift += 8) atomicAdd(&own[four >> shift & 0xff], 1u);
  };
  for_bytes(
      bytes.values, chunk.begin, chunk.end, bytes.mask == nullptr,
      [&](uint32_t i) {
        const uint4 word = load_word(bytes.values + i);
        count_four(word.x);
        count_four(word.y);
        count_four(word.z);
        count_four(word.w);
      },
      [&](uint32_t i) {
        if (bytes.mask == nullptr || bytes.mask[i] != 0) atomicAdd(&own[bytes.values[i]], 1u);
      });
  __syncthreads();
  uint32_t total = 0;
  for (int w = 0; w < warps; ++w) total += warp_counts[w][t];
  counts[int64_t{blockIdx.x} * kDigits + t] = total;
}

// Of a pool of bytes: at_most[y] values are y or less.
struct Distribution {
  uint32_t at_most[kDigits];
  __device__ __forceinline__ int64_t count() const { return at_most[kDigits - 1]; }
  // The value of rank r.
  __device__ __forceinline__ int sorted(int64_t r) const {
    return static_cast<int>(run_end(at_most, 0, kDigits, static_cast<uint32_t>(r)));
  }
};

__device__ __forceinline__ void sum_distribution(const Layout& layout, int64_t segment, uint32_t* counts,
                                                 uint32_t (&sums)[kQuarters][kDigits], uint32_t* warp_sums,
                                                 Distribution& distribution) {
  const uint32_t total = sum_counts(layout, segment, counts, sums).total;
  const uint32_t below = exclusive_scan_digits(total, warp_sums);
  if (threadIdx.x < kDigits) distribution.at_most[threadIdx.x] = below + total;
  __syncthreads();
}

// find_value_position, on counters.
__device__ __forceinline__ Position find_byte_position(int64_t a, int64_t n, const Distribution& reference) {
  const int64_t m = reference.count();
  const Quantile q = quantile(a, n, m);
  if (q.quotient >= m) return {m - 1, m - 1, 0};
  const int value = reference.sorted(q.quotient);
  return value_position(q, n, value == 0 ? 0 : reference.at_most[value - 1], reference.at_most[value]);
}

// The results of the 256 values, for each row of the sources.
__global__ void __launch_bounds__(kSegmentThreads)
    byte_tables(const __grid_constant__ Layout layout, int sources, uint32_t* __restrict__ counts,
                uint8_t* __restrict__ tables) {
  __shared__ uint32_t sums[kQuarters][kDigits];
  __shared__ uint32_t warp_sums[kDigits / kWarp];
  __shared__ Distribution source, reference;
  const int64_t segment = blockIdx.x;
  const int g = find_group(layout, &Group::first_segment, segment);
  const int64_t reference_segment = layout.group[sources + g].first_segment +
                                    (segment - layout.group[g].first_segment) % rows_of(layout, sources + g);
  sum_distribution(layout, segment, counts, sums, warp_sums, source);
  sum_distribution(layout, reference_segment, counts, sums, warp_sums, reference);
  const int value = threadIdx.x;
  if (value >= kDigits) return;
  const int64_t a = source.at_most[value];
  uint8_t result = static_cast<uint8_t>(value);
  if (a > 0 && reference.count() > 0) {
    const Position p = find_byte_position(a, source.count(), reference);
    result = as_pixel<uint8_t>(
        mix(static_cast<double>(reference.sorted(p.lower)), static_cast<double>(reference.sorted(p.upper)), p.weight));
  }
  tables[segment * kDigits + value] = result;
}

__global__ void __launch_bounds__(kThreads)
    apply_tables(const __grid_constant__ Layout layout, const __grid_constant__ Arrays arrays,
                 const __grid_constant__ Outputs<uint8_t> outputs, const uint8_t* __restrict__ tables) {
  __shared__ uint8_t table[kDigits];
  const Chunk chunk = find_chunk(layout, blockIdx.x);
  const int64_t segment = layout.group[chunk.group].first_segment + chunk.segment;
  table[threadIdx.x] = tables[segment * kDigits + threadIdx.x];
  __syncthreads();
  const Bytes bytes = bytes_of(arrays, chunk);
  uint8_t* out = outputs.out[chunk.group] + chunk.offset;
  const bool words_meet =
      (reinterpret_cast<uintptr_t>(bytes.values) - reinterpret_cast<uintptr_t>(out)) % kWordBytes == 0;
  const auto look_up_four = [&](uint32_t four) {
    uint32_t result = 0;
#pragma unroll
    for (int shift = 0; shift < 32; shift += 8) result |= uint32_t{table[four >> shift & 0xff]} << shift;
    return result;
  };
  for_bytes(
      bytes.values, chunk.begin, chunk.end, bytes.mask == nullptr && words_meet,
      [&](uint32_t i) {
        const uint4 word = load_word(bytes.values + i);
        store_vector(reinterpret_cast<uint4*>(out + i), make_uint4(look_up_four(word.x), look_up_four(word.y),
                                                                   look_up_four(word.z), look_up_four(word.w)));
      },
      [&](uint32_t i) {
        const uint8_t value = bytes.values[i];
        out[i] = bytes.mask == nullptr || bytes.mask[i] != 0 ? table[value] : value;
      });
}

// ---- Launching ------------------------------------------------------------------------------------------------------

// More chunks in a segment would not fill a device better, and digit_starts walks over them.
constexpr int64_t kMaxChunks = 512;

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Groups of sources, then groups of references.
struct Plan {
  Layout layout;
  int sources = 0;
  int64_t rows[kMaxGroups] = {};
  int64_t largest = 0;  // segment
  bool is_possible = true;

  void add(int64_t count, int64_t size) {
    rows[layout.groups] = count;
    layout.group[layout.groups++].size = static_cast<uint32_t>(size);
    if (count > 0 && size > largest) largest = size;
    is_possible = is_possible && size <= kMaxPool;
  }

  // Lays out what was added; chunks are whole tiles.
  void finish(int64_t tile) {
    const int64_t chunk_size = tile * (1 + largest / (tile * kMaxChunks));
    layout.chunk_size = static_cast<uint32_t>(chunk_size);
    Group* group = layout.group;
    for (int g = 0; g < layout.groups; ++g, ++group) {
      group->chunks = static_cast<uint32_t>(ceil_divide(group->size, chunk_size));
      group[1].first_segment = group->first_segment + rows[g];
      group[1].first_chunk = group->first_chunk + rows[g] * group->chunks;
      group[1].first_element = group->first_element + rows[g] * segment_stride(*group);
    }
    is_possible = is_possible && end().first_chunk <= INT_MAX / kParts && end().first_segment <= INT_MAX;
  }

  const Group& end_of_sources() const { return layout.group[sources]; }
  const Group& end() const { return layout.group[layout.groups]; }
};

template <typename T, typename R>
Plan plan_batches(const Batch<T, R>* batches, int count, int64_t tile) {
  Plan plan;
  if (count > kMaxBatches) {
    plan.is_possible = false;
    return plan;
  }
  plan.sources = count;
  for (int b = 0; b < count; ++b) plan.add(batches[b].source.rows, batches[b].source.size);
  for (int b = 0; b < count; ++b) {
    const int64_t rows = batches[b].source.rows, references = batches[b].reference.rows;
    plan.is_possible = plan.is_possible && (rows == 0 || (references > 0 && rows % references == 0));
    plan.add(references, batches[b].reference.size);
  }
  plan.finish(tile);
  return plan;
}

template <typename T>
Plan plan_rows(const Rows<T>& rows) {
  Plan plan;
  plan.add(rows.rows, rows.size);
  plan.finish(Tile<typename Key<T>::type>::size);
  return plan;
}

template <typename T, typename R>
Arrays arrays_of(const Batch<T, R>* batches, int count) {
  Arrays arrays;
  arrays.sources = count;
  for (int b = 0; b < count; ++b) {
    arrays.values[b] = batches[b].source.values;
    arrays.mask[b] = batches[b].source.mask;
    arrays.values[count + b] = batches[b].reference.values;
    arrays.mask[count + b] = batches[b].reference.mask;
  }
  return arrays;
}

bool has_mask(const Arrays& arrays) {
  for (const uint8_t* mask : arrays.mask) {
    if (mask != nullptr) return true;
  }
  return false;
}

template <typename KeyType>
struct SortMemory {
  Pairs<KeyType> pairs[2];
  uint32_t* counts;

  SortMemory(const Plan& plan, bool with_positions, Carver& carver) {
    for (Pairs<KeyType>& p : pairs) {
      p.keys = carver.take<KeyType>(plan.end().first_element);
      p.positions = with_positions ? carver.take<uint32_t>(plan.end().first_element) : nullptr;
    }
    counts = carver.take<uint32_t>(plan.end().first_chunk * kDigits);
  }
};

// Sorts the segments before `end` and returns where they are.
template <typename KeyType, typename Keys>
Pairs<KeyType> sort_segments(const Plan& plan, const Group& end, const Keys& keys, int bits,
                             const SortMemory<KeyType>& memory, Launches& launches) {
  constexpr int threads = Tile<KeyType>::threads;
  const int64_t chunks = end.first_chunk;
  if (plan.largest <= Tile<KeyType>::size) {
    launches.add(chunks, threads, sort_in_tile<KeyType, Keys>, plan.layout, bits, keys, memory.pairs[0]);
    return memory.pairs[0];
  }
  Pairs<KeyType> in{memory.pairs[1].keys, nullptr};
  for (int shift = 0, pass = 0; shift < bits; shift += kDigitBits, ++pass) {
    if (pass == 0) {
      launches.add(chunks, threads, count_digits<KeyType, Keys>, plan.layout, shift, keys, in.keys, memory.counts);
    } else {
      launches.add(chunks, threads, count_digits<KeyType, StoredKeys<KeyType>>, plan.layout, shift,
                   StoredKeys<KeyType>{in.keys}, nullptr, memory.counts);
    }
    launches.add(end.first_segment, kSegmentThreads, digit_starts, plan.layout, memory.counts);
    const Pairs<KeyType>& out = memory.pairs[pass % 2];
    launches.add(chunks, threads, scatter<KeyType>, plan.layout, shift, Pairs<const KeyType>{in.keys, in.positions},
                 memory.counts, out);
    in = out;
  }
  return in;
}

template <typename KeyType>
Pairs<const KeyType> read_only(const Pairs<KeyType>& pairs) {
  return {pairs.keys, pairs.positions};
}

// ---- uint8 by value

struct ByteMemory {
  uint32_t* counts;
  uint8_t* tables;
  ByteMemory(const Plan& plan, Carver& carver)
      : counts(carver.take<uint32_t>(plan.end().first_chunk * kDigits)),
        tables(carver.take<uint8_t>(plan.end_of_sources().first_segment * kDigits)) {}
};

template <typename T, typename R>
constexpr bool kIsBytes = std::is_same_v<T, uint8_t> && std::is_same_v<R, uint8_t>;

cudaError_t match_bytes(const Plan& plan, const Arrays& arrays, const Outputs<uint8_t>& outputs, void* workspace,
                        cudaStream_t stream) {
  Carver carver(workspace);
  const ByteMemory memory(plan, carver);
  Launches launches(stream);
  launches.add(plan.end().first_chunk, kThreads, count_bytes, plan.layout, arrays, memory.counts);
  launches.add(plan.end_of_sources().first_segment, kSegmentThreads, byte_tables, plan.layout, plan.sources,
               memory.counts, memory.tables);
  launches.add(plan.end_of_sources().first_chunk, kThreads, apply_tables, plan.layout, arrays, outputs, memory.tables);
  return launches.error();
}

template <typename T, typename R>
int64_t tile_of(Method method) {
  return kIsBytes<T, R> && method == Method::value ? kByteTile : Tile<typename Order<T, R>::KeyType>::size;
}

}  // namespace

// ---- The interface --------------------------------------------------------------------------------------------------

template <typename T, typename R>
size_t match_workspace(const Batch<T, R>* batches, int count, Method method) {
  const Plan plan = plan_batches(batches, count, tile_of<T, R>(method));
  Carver carver(nullptr);
  if (kIsBytes<T, R> && method == Method::value) {
    ByteMemory(plan, carver);
  } else {
    SortMemory<typename Order<T, R>::KeyType>(plan, true, carver);
  }
  return carver.bytes();
}

template <typename T, typename R>
cudaError_t match(const Batch<T, R>* batches, int count, Method method, bool is_sorted, void* workspace,
                  cudaStream_t stream) {
  using O = Order<T, R>;
  using KeyType = typename O::KeyType;
  const Plan plan = plan_batches(batches, count, tile_of<T, R>(method));
  if (!plan.is_possible) return cudaErrorInvalidValue;
  const NumberKeys<T, R> keys{arrays_of(batches, count)};
  Outputs<T> outputs;
  for (int b = 0; b < count; ++b) outputs.out[b] = batches[b].out;
  if constexpr (kIsBytes<T, R>) {
    if (method == Method::value) return match_bytes(plan, keys.arrays, outputs, workspace, stream);
  }
  Carver carver(workspace);
  const SortMemory<KeyType> memory(plan, true, carver);
  Launches launches(stream);
  const Group& sources = plan.end_of_sources();
  const Pairs<KeyType> sorted = sort_segments(plan, is_sorted ? sources : plan.end(), keys,
                                              has_mask(keys.arrays) ? O::masked_bits : O::bits, memory, launches);
  if (is_sorted) {
    launches.add((plan.end().first_chunk - sources.first_chunk) * kParts, kThreads,
                 keep_keys<KeyType, NumberKeys<T, R>>, plan.layout, sources.first_chunk, keys, sorted.keys);
  }
  launches.add(sources.first_chunk * kParts, kThreads, match_ranks<T, R>, plan.layout, keys.arrays, outputs, method,
               read_only(sorted));
  return launches.error();
}

template <typename T>
size_t sort_workspace(const Rows<T>& rows) {
  Carver carver(nullptr);
  SortMemory<typename Key<T>::type>(plan_rows(rows), false, carver);
  return carver.bytes();
}

template <typename T>
cudaError_t sort(const Rows<T>& rows, T* sorted, void* workspace, cudaStream_t stream) {
  using KeyType = typename Key<T>::type;
  const Plan plan = plan_rows(rows);
  if (!plan.is_possible) return cudaErrorInvalidValue;
  NumberKeys<T, T> keys;
  keys.arrays.values[0] = rows.values;
  keys.arrays.mask[0] = rows.mask;
  Carver carver(workspace);
  const SortMemory<KeyType> memory(plan, false, carver);
  Launches launches(stream);
  const Pairs<KeyType> result = sort_segments(plan, plan.end(), keys, Order<T, T>::bits, memory, launches);
  launches.add(plan.end().first_chunk * kParts, kThreads, write_sorted<T>, plan.layout, result.keys, sorted);
  return launches.error();
}

namespace {

template <typename T>
using KeyPairs = Pairs<const typename Key<T>::type>;

template <typename T>
struct LinearMemory {
  SortMemory<typename Key<T>::type> sort;
  Flows<T> flows;
  LinearMemory(const Plan& plan, Carver& carver) : sort(plan, true, carver) {
    const int64_t elements = plan.end_of_sources().first_element;
    flows = {carver.take<uint32_t>(elements), carver.take<uint32_t>(elements), carver.take<T>(elements),
             carver.take<T>(elements)};
  }
};

// Sorts source and reference; finish(plan, sorted, flows, launches) does the rest.
template <typename T, typename Finish>
cudaError_t run_linear(const Batch<T, T>& batch, void* workspace, cudaStream_t stream, Finish finish) {
  const Plan plan = plan_batches(&batch, 1, tile_of<T, T>(Method::rank));
  if (!plan.is_possible || batch.source.rows != batch.reference.rows) return cudaErrorInvalidValue;
  Carver carver(workspace);
  const LinearMemory<T> memory(plan, carver);
  Launches launches(stream);
  const NumberKeys<T, T> keys{arrays_of(&batch, 1)};
  finish(plan, read_only(sort_segments(plan, plan.end(), keys, Order<T, T>::bits, memory.sort, launches)), memory.flows,
         launches);
  return launches.error();
}

}  // namespace

template <typename T>
size_t linear_workspace(const Rows<T>& source, const Rows<T>& reference) {
  const Batch<T, T> batch{source, reference, nullptr};
  Carver carver(nullptr);
  LinearMemory<T>(plan_batches(&batch, 1, tile_of<T, T>(Method::rank)), carver);
  return carver.bytes();
}

template <typename T>
cudaError_t tangent(const Rows<T>& source, const Rows<T>& reference, const T* direction, T* out, Method method,
                    void* workspace, cudaStream_t stream) {
  const Batch<T, T> batch{source, reference, nullptr};
  return run_linear(batch, workspace, stream,
                    [&](const Plan& plan, const KeyPairs<T>& sorted, const Flows<T>&, Launches& launches) {
                      launches.add(plan.end_of_sources().first_chunk * kParts, kThreads, tangent_ranks<T>, plan.layout,
                                   direction, out, method, sorted);
                    });
}

template <typename T>
cudaError_t adjoint(const Rows<T>& source, const Rows<T>& reference, const T* direction, T* out, Method method,
                    void* workspace, cudaStream_t stream) {
  const Batch<T, T> batch{source, reference, nullptr};
  return run_linear(batch, workspace, stream,
                    [&](const Plan& plan, const KeyPairs<T>& sorted, const Flows<T>& flows, Launches& launches) {
                      const int64_t source_chunks = plan.end_of_sources().first_chunk;
                      launches.add(source_chunks * kParts, kThreads, rank_flows<T>, plan.layout, direction, method,
                                   sorted, flows);
                      launches.add((plan.end().first_chunk - source_chunks) * kParts, kThreads, adjoint_ranks<T>,
                                   plan.layout, source_chunks, out, sorted, flows);
                    });
}

#define GENIMG_MATCH(T, R)                                          \
  template size_t match_workspace(const Batch<T, R>*, int, Method); \
  template cudaError_t match(const Batch<T, R>*, int, Method, bool, void*, cudaStream_t);
GENIMG_MATCH(float, float)
GENIMG_MATCH(double, double)
GENIMG_MATCH(uint8_t, uint8_t)
GENIMG_MATCH(uint8_t, float)
GENIMG_MATCH(uint16_t, uint16_t)
GENIMG_MATCH(uint16_t, float)
#undef GENIMG_MATCH

#define GENIMG_REALS(T)                                                                                    \
  template size_t sort_workspace(const Rows<T>&);                                                          \
  template cudaError_t sort(const Rows<T>&, T*, void*, cudaStream_t);                                      \
  template size_t linear_workspace(const Rows<T>&, const Rows<T>&);                                        \
  template cudaError_t tangent(const Rows<T>&, const Rows<T>&, const T*, T*, Method, void*, cudaStream_t); \
  template cudaError_t adjoint(const Rows<T>&, const Rows<T>&, const T*, T*, Method, void*, cudaStream_t);
GENIMG_REALS(float)
GENIMG_REALS(double)
#undef GENIMG_REALS

}  // namespace genimg::histogram::cuda
