// The CPU's sort, one table of functions per instruction set (kernels.cpp).
//
// One pass brings the pool's values into buckets of about 100; each bucket is then sorted in vector registers by a
// network, on 32-bit words of (truncated key, place in the bucket). A bucket too large for that is divided again by an
// affine map of its keys. The order is total (key, then index), so it does not depend on the map, on the vector length
// or on who sorts which bucket.
#pragma once

#include <stdint.h>

#include "histogram/formula.h"

namespace genimg::histogram {

// A value's key and the pixel it came from.
template <typename T>
struct Record;
template <>
struct Record<float> {
  uint64_t bits;
  static Record make(uint32_t key, uint32_t index) { return {static_cast<uint64_t>(key) << 32 | index}; }
  uint32_t key() const { return static_cast<uint32_t>(bits >> 32); }
  uint32_t index() const { return static_cast<uint32_t>(bits); }
};
template <>
struct Record<double> {
  uint64_t bits;
  uint64_t pixel;
  static Record make(uint64_t key, uint32_t index) { return {key, index}; }
  uint64_t key() const { return bits; }
  uint32_t index() const { return static_cast<uint32_t>(pixel); }
};

constexpr int kMaxBuckets = 4096;
constexpr int kOverread = 512;
constexpr int kCells = 32;

// Which bucket a value goes to, a number in [0, count) that never falls as the value grows; what takes no part goes to
// the bucket `count`. The distance from a center is divided into cells by its sign and its power of two (16 of them,
// the outer ones take what lies beyond), and each cell evenly into as many buckets as a sample of the pool asks for:
// bell-shaped, heavy-tailed and flat pools all come out nearly even.
template <typename T>
struct BucketMap {
  T center = 0;
  uint32_t nearest = 1u << 23;  // the bits of the float at which the innermost cell begins, a power of two
  int count = 1;
  uint32_t cells[kCells] = {};  // first bucket, and the number of buckets << 16
};

constexpr int kCellBits = 23;  // bits within a cell
constexpr uint32_t kHalfCells = kCells / 2u << kCellBits;

// The place of x on the scale of the cells: 32 << 23 numbers.
template <typename T>
GENIMG_HD uint32_t scale_place(T x, T center, uint32_t nearest) {
  const float distance = static_cast<float>(x - center) + 0.0f;  // -0 and 0 stay together
  uint32_t bits;
  __builtin_memcpy(&bits, &distance, sizeof bits);
  const uint32_t size = bits & 0x7fffffffu, farthest = nearest + (kHalfCells - 1);
  const uint32_t outer = size > nearest ? size : nearest, inside = (outer < farthest ? outer : farthest) - nearest;
  return (bits >> 31) != 0 ? kHalfCells - 1 - inside : kHalfCells + inside;
}

template <typename T>
struct Kernels {
  using K = typename Key<T>::type;
  // Writes each value's bucket and adds to counts[0 .. map.count].
  void (*classify)(const T* values, const uint8_t* mask, int64_t n, const BucketMap<T>& map, uint16_t* buckets,
                   uint32_t* counts);
  // places[b]: where the bucket's next record goes; advanced. The pixels are first, first + 1, ...
  void (*scatter)(const T* values, const uint16_t* buckets, int64_t n, uint32_t first, uint32_t* places,
                  Record<T>* records);
  void (*scatter_keys)(const T* values, const uint16_t* buckets, int64_t n, uint32_t* places, K* keys);
  // Sort one bucket (clobbers it and `spare`, as long; reads kOverread elements beyond both) and write, for its r-th
  // record, out[index] = targets[r]; with ties, targets at the last of the equal ones; order[r] = index; sorted[r] =
  // value.
  void (*write_by_rank)(Record<T>* records, Record<T>* spare, int64_t n, const T* targets, T* out);
  void (*write_by_value)(Record<T>* records, Record<T>* spare, int64_t n, const T* targets, T* out);
  void (*write_order)(Record<T>* records, Record<T>* spare, int64_t n, uint32_t* order);
  void (*write_sorted)(K* keys, K* spare, int64_t n, T* sorted);
};

// For this processor (common/isa.h). T is float or double.
template <typename T>
const Kernels<T>& kernels();

// out[i] = table[codes[i]], with a table of 256 bytes. out may be codes.
using MapBytes = void (*)(const uint8_t* table, const uint8_t* codes, int64_t n, uint8_t* out);
MapBytes map_bytes();

}  // namespace genimg::histogram
