// CUDA's vector types, with CUDA's alignments.
#pragma once

#include <cstddef>

struct alignas(2) uchar2 {
  unsigned char x, y;
};
inline uchar2 make_uchar2(unsigned char x, unsigned char y) { return {x, y}; }

struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};
inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) { return {x, y, z, w}; }

struct alignas(4) ushort2 {
  unsigned short x, y;
};
inline ushort2 make_ushort2(unsigned short x, unsigned short y) { return {x, y}; }

struct alignas(8) ushort4 {
  unsigned short x, y, z, w;
};
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
  return {x, y, z, w};
}

struct alignas(8) int2 {
  int x, y;
};
inline int2 make_int2(int x, int y) { return {x, y}; }

struct int3 {
  int x, y, z;
};
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }

struct alignas(16) int4 {
  int x, y, z, w;
};
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

struct alignas(8) uint2 {
  unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

struct uint3 {
  unsigned x, y, z;
};
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

struct alignas(8) float2 {
  float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

struct float3 {
  float x, y, z;
};
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }

struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct alignas(16) longlong2 {
  long long x, y;
};
inline longlong2 make_longlong2(long long x, long long y) { return {x, y}; }

struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};
inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

struct alignas(16) double2 {
  double x, y;
};
inline double2 make_double2(double x, double y) { return {x, y}; }

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

namespace genimg {
namespace cuda_on_cpu {

// Bytes that the compiler moves at once.
template <size_t N>
struct Whole;
template <>
struct Whole<8> {
  using type = unsigned long long __attribute__((may_alias));
};
template <>
struct Whole<16> {
  using type = unsigned long long __attribute__((vector_size(16), may_alias));
};

}  // namespace cuda_on_cpu

// One access, as nvcc makes it; volatile keeps the compiler from splitting it.
template <typename Vector>
inline Vector load_vector(const Vector* from) {
  using Whole = typename cuda_on_cpu::Whole<sizeof(Vector)>::type;
  const Whole whole = *reinterpret_cast<const volatile Whole*>(from);
  return __builtin_bit_cast(Vector, whole);
}

template <typename Vector>
inline void store_vector(Vector* to, const Vector& value) {
  using Whole = typename cuda_on_cpu::Whole<sizeof(Vector)>::type;
  *reinterpret_cast<volatile Whole*>(to) = __builtin_bit_cast(Whole, value);
}

template <typename Vector>
inline void store_global_vector(Vector* to, const Vector& value) {
  store_vector(to, value);
}

}  // namespace genimg
