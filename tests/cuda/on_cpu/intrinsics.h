// Device functions: barriers, warp operations, bits, arithmetic with a given rounding.
#pragma once

#include <math.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "on_cpu/block.h"

namespace genimg::cuda_on_cpu {

template <typename T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Where a lane reads in a shuffle of segments of `width` lanes: outside its segment it keeps its own value.
struct Source {
  unsigned lane;
  bool inside;
};

template <typename T>
T shuffle(unsigned mask, WarpOperation operation, T value, Source source, const Site& site) {
  const WarpValues values = exchange(mask, operation, to_bits(value), site);
  if (!source.inside) return value;
  const unsigned lane = source.lane % kWarpSize;
  if (!(mask >> lane & 1))
    fail("shuffle at line %u reads lane %u, which is not in its mask %08x", site.line(), lane, mask);
  return from_bits<T>(values[lane]);
}

}  // namespace genimg::cuda_on_cpu

// ---- barriers

inline void __syncthreads(const std::source_location site = std::source_location::current()) {
  ::genimg::cuda_on_cpu::wait_at_barrier(false, site);
}
inline int __syncthreads_count(int predicate, const std::source_location site = std::source_location::current()) {
  return ::genimg::cuda_on_cpu::wait_at_barrier(predicate != 0, site).count;
}
inline int __syncthreads_or(int predicate, const std::source_location site = std::source_location::current()) {
  return ::genimg::cuda_on_cpu::wait_at_barrier(predicate != 0, site).count > 0;
}
inline int __syncthreads_and(int predicate, const std::source_location site = std::source_location::current()) {
  return ::genimg::cuda_on_cpu::wait_at_barrier(predicate != 0, site).all;
}
inline void __syncwarp(unsigned mask = ~0u, const std::source_location site = std::source_location::current()) {
  ::genimg::cuda_on_cpu::exchange(mask, ::genimg::cuda_on_cpu::WarpOperation::synchronize, 0, site);
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}

// ---- warp operations

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              const std::source_location site = std::source_location::current()) {
  using namespace ::genimg::cuda_on_cpu;
  const unsigned first = running_lane() & ~(width - 1u);
  return shuffle(mask, WarpOperation::shuffle, value, {first + (lane & (width - 1u)), true}, site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 const std::source_location site = std::source_location::current()) {
  using namespace ::genimg::cuda_on_cpu;
  const bool inside = (running_lane() & (width - 1u)) >= delta;
  return shuffle(mask, WarpOperation::shuffle_up, value, {running_lane() - delta, inside}, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   const std::source_location site = std::source_location::current()) {
  using namespace ::genimg::cuda_on_cpu;
  const bool inside = (running_lane() & (width - 1u)) + delta < static_cast<unsigned>(width);
  return shuffle(mask, WarpOperation::shuffle_down, value, {running_lane() + delta, inside}, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  const std::source_location site = std::source_location::current()) {
  using namespace ::genimg::cuda_on_cpu;
  const unsigned source = running_lane() ^ static_cast<unsigned>(lanes);
  const bool inside = source / width <= running_lane() / width;
  return shuffle(mask, WarpOperation::shuffle_xor, value, {source, inside}, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              const std::source_location site = std::source_location::current()) {
  using namespace ::genimg::cuda_on_cpu;
  const WarpValues votes = exchange(mask, WarpOperation::vote, predicate != 0, site);
  mask &= existing_lanes();
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (mask >> lane & 1) ballot |= static_cast<unsigned>(votes[lane]) << lane;
  return ballot;
}
inline int __any_sync(unsigned mask, int predicate, const std::source_location site = std::source_location::current()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, const std::source_location site = std::source_location::current()) {
  return __ballot_sync(mask, !predicate, site) == 0;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, const std::source_location site = std::source_location::current()) {
  using namespace ::genimg::cuda_on_cpu;
  const WarpValues values = exchange(mask, WarpOperation::match, to_bits(value), site);
  mask &= existing_lanes();
  unsigned same = 0;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (mask >> lane & 1 && values[lane] == to_bits(value)) same |= 1u << lane;
  return same;
}
inline unsigned __activemask() { return ::genimg::cuda_on_cpu::existing_lanes(); }

// ---- bits

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

// ---- memory and arithmetic

template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }
inline float rsqrtf(float a) { return 1.0f / __builtin_sqrtf(a); }
inline double rsqrt(double a) { return 1.0 / __builtin_sqrt(a); }
inline int __float2int_rn(float a) { return static_cast<int>(__builtin_rintf(a)); }
inline int __float2int_rz(float a) { return static_cast<int>(a); }
inline int __double2int_rn(double a) { return static_cast<int>(__builtin_rint(a)); }
inline long long __float2ll_rn(float a) { return static_cast<long long>(__builtin_rintf(a)); }
inline long long __double2ll_rn(double a) { return static_cast<long long>(__builtin_rint(a)); }

using std::max;
using std::min;
