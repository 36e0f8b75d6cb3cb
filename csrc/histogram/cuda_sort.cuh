// A stable radix sort of many segments at once, 8 bits a pass from the lowest: keys, and for each its position in its
// segment. Segments never mix, because a digit is counted for each segment by itself; so their number costs no pass and
// no launch.
//
// A segment is cut into chunks of equal size; one block works on one chunk, tile by tile. A pass is three launches:
//   count_digits    how many keys of each digit the chunk has                              reads the keys
//   digit_starts    from the counts, where each chunk writes its first key of each digit   256 counters a chunk
//   scatter         ranks the keys of a tile by digit and writes them there                reads and writes keys,
//   positions
// Blocks of one launch never wait for each other. The floor of a pass with 4-byte keys is 4 + 16 bytes a key (the first
// pass reads no positions). Segments that all fit a tile are sorted by one launch, in shared memory: 12 bytes a key.
//
// The runs of a digit in a sorted tile are what scatter writes: 32 keys on average where the digits are uniform, so 128
// bytes that begin anywhere and touch 4.9 sectors of 32 bytes instead of 4.
#pragma once

#include "common/cuda.h"

namespace genimg::histogram::cuda {
namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kWarp = 32;
constexpr int kItems = 16;  // keys of a tile that one thread holds
constexpr int kRankBits = 16;
constexpr uint32_t kRankMask = (1u << kRankBits) - 1;

// 32 KiB of keys: longer runs need more than the 48 KiB of shared memory that every device gives without asking. 512
// threads on a multiprocessor leave each 128 registers, below which some compilers spill.
template <typename Key>
struct Tile {
  static constexpr int threads = 2048 / sizeof(Key);
  static constexpr int blocks = 512 / threads;
  static constexpr int warps = threads / kWarp;
  static constexpr int size = threads * kItems;
};

// Segments of one size, one after another in the buffers of the sort and in the caller's array.
struct Group {
  int64_t first_segment = 0;
  int64_t first_chunk = 0;
  int64_t first_element = 0;  // in the buffers, where each segment begins at a multiple of a sector
  uint32_t size = 0;          // of a segment
  uint32_t chunks = 0;        // of a segment
};

constexpr int kMaxGroups = 64;
constexpr int64_t kSectorKeys = 8;

GENIMG_HD int64_t segment_stride(const Group& group) {
  return (int64_t{group.size} + kSectorKeys - 1) / kSectorKeys * kSectorKeys;
}

// A kernel parameter, so that nothing is copied to the device before the first launch.
struct Layout {
  int groups = 0;
  uint32_t chunk_size = 0;
  Group group[kMaxGroups + 1];  // behind the last one, its end
};

GENIMG_HD int64_t rows_of(const Layout& layout, int group) {
  return layout.group[group + 1].first_segment - layout.group[group].first_segment;
}

struct Chunk {
  int group;
  int64_t segment;      // in its group
  int64_t element;      // where the segment begins in the buffers
  int64_t offset;       // where it begins in the caller's array
  uint32_t begin, end;  // in the segment
};

// The last group that begins at or before `id`: an empty one begins where the next one does.
GENIMG_HD int find_group(const Layout& layout, int64_t Group::* first, int64_t id) {
  int low = 0, high = layout.groups - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (layout.group[middle].*first <= id)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

GENIMG_HD Chunk find_chunk(const Layout& layout, int64_t id) {
  const int g = find_group(layout, &Group::first_chunk, id);
  const Group& group = layout.group[g];
  const int64_t segment = (id - group.first_chunk) / group.chunks;
  const uint32_t begin = static_cast<uint32_t>(id - group.first_chunk - segment * group.chunks) * layout.chunk_size;
  const uint32_t left = group.size - begin;
  return {g,
          segment,
          group.first_element + segment * segment_stride(group),
          segment * group.size,
          begin,
          begin + (left < layout.chunk_size ? left : layout.chunk_size)};
}

template <typename Key>
__device__ __forceinline__ unsigned digit_of(Key key, int shift) {
  return static_cast<unsigned>(key >> shift) & (kDigits - 1);
}

// The lanes that hold the same digit as this one.
__device__ __forceinline__ unsigned same_digit(unsigned digit) {
  unsigned same = ~0u;
#pragma unroll
  for (int bit = 0; bit < kDigitBits; ++bit) {
    const bool set = digit >> bit & 1;
    const unsigned ballot = __ballot_sync(~0u, set);
    same &= set ? ballot : ~ballot;
  }
  return same;
}

// The sum of `value` over the threads before this one; every thread of the first 256 takes part.
__device__ __forceinline__ uint32_t exclusive_scan_digits(uint32_t value, uint32_t* warp_sums) {
  const int t = threadIdx.x, lane = t % kWarp;
  uint32_t sum = value;
  if (t < kDigits) {
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const uint32_t below = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += below;
    }
    if (lane == kWarp - 1) warp_sums[t / kWarp] = sum;
  }
  __syncthreads();
  uint32_t before = 0;
  if (t < kDigits) {
    for (int w = 0; w < t / kWarp; ++w) before += warp_sums[w];
  }
  return before + sum - value;
}

template <typename Key>
struct Ranks {
  uint16_t warp_counts[Tile<Key>::warps][kDigits];
  uint32_t tile_starts[kDigits];  // where the keys of a digit begin in the sorted tile
  uint32_t warp_sums[kDigits / kWarp];
};

// Where item i of this thread stands in the tile; rows of a warp are 32 keys, so that loads are coalesced and the order
// (warp, row, lane) is that of the keys.
__device__ __forceinline__ uint32_t place(int i) {
  return (threadIdx.x / kWarp * kItems + i) * kWarp + threadIdx.x % kWarp;
}
__device__ __forceinline__ bool row_is_used(int i, uint32_t n) { return place(i) - threadIdx.x % kWarp < n; }

// Of the sorted tile: where the keys of this thread's digit begin, and how many they are. For the first 256 threads.
struct DigitRun {
  uint32_t start, count;
};

// The places of a tile's first n keys after a stable sort by one digit. A key beyond n must have the digit 255: it
// comes last, as there is none behind it.
template <typename Key>
__device__ __forceinline__ DigitRun rank_tile(const Key (&key)[kItems], uint32_t n, int shift, Ranks<Key>& shared,
                                              uint32_t (&rank)[kItems]) {
  const int t = threadIdx.x, lane = t % kWarp;
  uint16_t* counts = shared.warp_counts[t / kWarp];
#pragma unroll
  for (int d = lane; d < kDigits; d += kWarp) counts[d] = 0;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (!row_is_used(i, n)) continue;
    const unsigned digit = digit_of(key[i], shift);
    const unsigned same = same_digit(digit);
    const int before = __popc(same & ((1u << lane) - 1));
    const uint32_t count = counts[digit];
    __syncwarp();
    if (before == 0) counts[digit] = static_cast<uint16_t>(count + __popc(same));
    __syncwarp();
    rank[i] = count + before;
  }
  __syncthreads();

  uint32_t total = 0;
  if (t < kDigits) {
#pragma unroll
    for (int w = 0; w < Tile<Key>::warps; ++w) {
      const uint32_t count = shared.warp_counts[w][t];
      shared.warp_counts[w][t] = static_cast<uint16_t>(total);
      total += count;
    }
  }
  const uint32_t start = exclusive_scan_digits(total, shared.warp_sums);
  if (t < kDigits) shared.tile_starts[t] = start;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (!row_is_used(i, n)) continue;
    const unsigned digit = digit_of(key[i], shift);
    rank[i] += shared.tile_starts[digit] + counts[digit];
  }
  return {start, total};
}

// Moves a tile's values to the places that the ranks say: put(i, value) gets what get(i) of another thread gave.
template <typename T, typename Get, typename Put>
__device__ __forceinline__ void exchange(const uint32_t (&rank)[kItems], uint32_t n, T* shared, Get get, Put put) {
  __syncthreads();  // the memory may still be read as something else
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (row_is_used(i, n)) shared[rank[i] & kRankMask] = get(i);
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (row_is_used(i, n)) put(i, shared[place(i)]);
  }
}

template <typename Key>
constexpr Key kNoKey =
    static_cast<Key>(~Key{0});  // sorted behind every key: left out of the statistics, or no key at all

// How many keys of each digit a chunk has. `keys(chunk, i)` gives the key of element i of the chunk's segment; the
// first pass makes it from a number and keeps it in `kept` for scatter, so that each number is read once.
template <typename Key, typename Keys>
__global__ void __launch_bounds__(Tile<Key>::threads)
    count_digits(const __grid_constant__ Layout layout, int shift, const __grid_constant__ Keys keys,
                 Key* __restrict__ kept, uint32_t* __restrict__ counts) {
  constexpr int threads = Tile<Key>::threads;
  __shared__ uint32_t warp_counts[Tile<Key>::warps][kDigits];  // each warp its own, so that they do not queue for one
  const int t = threadIdx.x;
  for (int d = t % kWarp; d < kDigits; d += kWarp) warp_counts[t / kWarp][d] = 0;
  __syncwarp();
  const Chunk chunk = find_chunk(layout, blockIdx.x);
#pragma unroll 4
  for (uint32_t i = chunk.begin + t; i < chunk.end; i += threads) {
    const Key key = keys(chunk, i);
    if (kept != nullptr) kept[chunk.element + i] = key;
    atomicAdd(&warp_counts[t / kWarp][digit_of(key, shift)], 1u);
  }
  __syncthreads();
  for (int d = t; d < kDigits; d += threads) {
    uint32_t total = 0;
    for (int w = 0; w < Tile<Key>::warps; ++w) total += warp_counts[w][d];
    counts[int64_t{blockIdx.x} * kDigits + d] = total;
  }
}

// The counts of a segment, for one digit a thread: four groups of threads each take a quarter of its chunks.
constexpr int kQuarters = 4;
constexpr int kSegmentThreads = kQuarters * kDigits;

struct SegmentCounts {
  uint32_t* column;  // of this thread's digit, from its quarter's first chunk on
  uint32_t chunks;   // in the quarter
  uint32_t before;   // keys of the digit in the quarters before
  uint32_t total;    // in all of them
};

__device__ __forceinline__ SegmentCounts sum_counts(const Layout& layout, int64_t segment, uint32_t* counts,
                                                    uint32_t (&sums)[kQuarters][kDigits]) {
  const unsigned quarter = threadIdx.x / kDigits, digit = threadIdx.x % kDigits;
  const Group& group = layout.group[find_group(layout, &Group::first_segment, segment)];
  const int64_t first = group.first_chunk + (segment - group.first_segment) * group.chunks;
  const uint32_t begin = group.chunks * quarter / kQuarters, end = group.chunks * (quarter + 1) / kQuarters;
  SegmentCounts result{counts + (first + begin) * kDigits + digit, end - begin, 0, 0};
  uint32_t sum = 0;
#pragma unroll 8
  for (uint32_t c = 0; c < result.chunks; ++c) sum += result.column[int64_t{c} * kDigits];
  sums[quarter][digit] = sum;
  __syncthreads();
#pragma unroll
  for (unsigned q = 0; q < kQuarters; ++q) {
    if (q == quarter) result.before = result.total;
    result.total += sums[q][digit];
  }
  __syncthreads();
  return result;
}

// Turns the counts of a segment's chunks into the place, in the segment, of each chunk's first key of each digit.
__global__ void __launch_bounds__(kSegmentThreads)
    digit_starts(const __grid_constant__ Layout layout, uint32_t* __restrict__ counts) {
  __shared__ uint32_t sums[kQuarters][kDigits];
  __shared__ uint32_t warp_sums[kDigits / kWarp];
  const int digit = threadIdx.x % kDigits;
  const SegmentCounts own = sum_counts(layout, blockIdx.x, counts, sums);
  const uint32_t start = exclusive_scan_digits(own.total, warp_sums);
  if (threadIdx.x < kDigits) sums[0][digit] = start;
  __syncthreads();
  uint32_t next = sums[0][digit] + own.before;
#pragma unroll 8
  for (uint32_t c = 0; c < own.chunks; ++c) {
    const uint32_t count = own.column[int64_t{c} * kDigits];
    own.column[int64_t{c} * kDigits] = next;
    next += count;
  }
}

template <typename Key>
struct Pairs {
  Key* keys;
  uint32_t* positions;
};

template <typename Key>
union ExchangeMemory {
  Key keys[Tile<Key>::size];
  uint32_t positions[Tile<Key>::size];
};

// Writes the keys of a chunk, and their positions, where digit_starts says. Keys go through shared memory, sorted by
// digit, so that neighbouring threads write neighbouring keys. The input's positions are 0, 1, 2, ... where it has
// none; where the output has none, the keys alone are sorted.
template <typename Key>
__global__ void __launch_bounds__(Tile<Key>::threads, Tile<Key>::blocks)
    scatter(const __grid_constant__ Layout layout, int shift, Pairs<const Key> in, const uint32_t* __restrict__ starts,
            Pairs<Key> out) {
  __shared__ Ranks<Key> ranks;
  __shared__ ExchangeMemory<Key> memory;
  __shared__ uint32_t shifts[kDigits];  // of a digit's keys, from their places in the tile to those in the segment
  const int t = threadIdx.x;
  uint32_t next = t < kDigits ? starts[int64_t{blockIdx.x} * kDigits + t] : 0;  // place in the segment, of digit t
  const Chunk chunk = find_chunk(layout, blockIdx.x);
  for (uint32_t begin = chunk.begin; begin < chunk.end; begin += Tile<Key>::size) {
    const uint32_t n = min(chunk.end - begin, static_cast<uint32_t>(Tile<Key>::size));
    const int64_t first = chunk.element + begin;
    Key key[kItems];
    uint32_t rank[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) key[i] = place(i) < n ? in.keys[first + place(i)] : kNoKey<Key>;
    const DigitRun run = rank_tile(key, n, shift, ranks, rank);
    if (t < kDigits) shifts[t] = next - run.start;
    next += run.count;
    exchange(
        rank, n, memory.keys, [&](int i) { return key[i]; },
        [&](int i, Key sorted) {
          const unsigned digit = digit_of(sorted, shift);
          rank[i] |= digit << kRankBits;  // in its idle half: the position that follows goes the same way
          if (place(i) < n) out.keys[chunk.element + (shifts[digit] + place(i))] = sorted;
        });
    if (out.positions != nullptr)
      exchange(
          rank, n, memory.positions,
          [&](int i) {
            const bool implied = in.positions == nullptr || place(i) >= n;
            return implied ? begin + place(i) : in.positions[first + place(i)];
          },
          [&](int i, uint32_t position) {
            if (place(i) < n) out.positions[chunk.element + (shifts[rank[i] >> kRankBits] + place(i))] = position;
          });
  }
}

// All passes at once, where a segment is one tile: `keys` as for count_digits.
template <typename Key, typename Keys>
__global__ void __launch_bounds__(Tile<Key>::threads)
    sort_in_tile(const __grid_constant__ Layout layout, int bits, const __grid_constant__ Keys keys, Pairs<Key> out) {
  __shared__ Ranks<Key> ranks;
  __shared__ ExchangeMemory<Key> memory;
  const Chunk chunk = find_chunk(layout, blockIdx.x);
  const uint32_t n = chunk.end;
  Key key[kItems];
  uint32_t rank[kItems], position[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    key[i] = place(i) < n ? keys(chunk, place(i)) : kNoKey<Key>;
    position[i] = place(i);
  }
  for (int shift = 0; shift < bits; shift += kDigitBits) {
    rank_tile(key, n, shift, ranks, rank);
    exchange(rank, n, memory.keys, [&](int i) { return key[i]; }, [&](int i, Key sorted) { key[i] = sorted; });
    exchange(
        rank, n, memory.positions, [&](int i) { return position[i]; },
        [&](int i, uint32_t sorted) { position[i] = sorted; });
  }
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    if (place(i) >= n) continue;
    out.keys[chunk.element + place(i)] = key[i];
    if (out.positions != nullptr) out.positions[chunk.element + place(i)] = position[i];
  }
}

}  // namespace
}  // namespace genimg::histogram::cuda
