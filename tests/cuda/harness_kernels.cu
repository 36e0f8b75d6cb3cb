// Kernels for the harness' own tests: each checks the meaning of some words of CUDA, or breaks one rule on purpose.
#include "common/cuda.h"
#include "gram/cuda_fragments.cuh"

namespace genimg::harness_test {

// ---- meaning

__global__ void block_sum(const float* in, int n, float* sums) {
  __shared__ float partial[8];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = i < n ? in[i] : 0.0f;
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_down_sync(~0u, sum, lanes);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f;
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void reverse_in_dynamic_shared(const int* in, int* out) {
  GENIMG_DYNAMIC_SHARED(int, buffer);
  buffer[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}

// One number a thread: what each collective gives, over 64 threads.
__global__ void collectives(unsigned* out, int* counter) {
  const unsigned t = threadIdx.x, lane = t % 32;
  unsigned* row = out + 10 * t;
  row[0] = __ballot_sync(~0u, lane % 3 == 0);
  row[1] = __any_sync(~0u, lane == 31);
  row[2] = __all_sync(~0u, lane < 31);
  row[3] = __match_any_sync(~0u, lane / 8);
  row[4] = __shfl_sync(~0u, lane, 5, 8);
  row[5] = __shfl_up_sync(~0u, lane, 3, 16);
  row[6] = __syncthreads_count(t < 40);
  row[7] = __syncthreads_or(t == 63);
  row[8] = __syncthreads_and(t < 63);
  // The two halves of a warp go their own ways.
  row[9] = lane < 16 ? __ballot_sync(0x0000ffffu, lane & 1) : __ballot_sync(0xffff0000u, lane & 2);
  atomicAdd(counter, 1);
  atomicMax(counter + 1, static_cast<int>(t));
  atomicMin(counter + 2, -static_cast<int>(t));
  if (t == 0) atomicCAS(counter + 3, 7, 11);
}

__global__ void reads_unwritten_shared(float* out) {
  __shared__ float tile[32];
  if (blockIdx.x == 0) tile[threadIdx.x] = 1.0f;
  __syncthreads();
  out[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x];
}

// The registers of each lane, as they come: four of a, two of b, four of d.
template <typename Element>
__global__ void fragment_product(const uint32_t* a, const uint32_t* b, float* d) {
  const unsigned lane = threadIdx.x;
  const uint32_t left[4] = {a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]};
  const uint32_t right[2] = {b[2 * lane], b[2 * lane + 1]};
  float sums[4] = {1, 1, 1, 1};
  gram::multiply_fragments<Element>(sums, left, right);
  for (int i = 0; i < 4; ++i) d[4 * lane + i] = sums[i];
}

__global__ void round_to_tfloat(const float* in, uint32_t* out) {
  out[threadIdx.x] = gram::round_to_tfloat(in[threadIdx.x]);
}

// ---- rules broken

__global__ void barrier_for_some(int* out) {
  if (threadIdx.x < 20) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void two_barriers(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ void shuffle_with_absent_lanes(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_down_sync(~0u, 1, 1);
}

__global__ void shuffle_outside_mask(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 20);
}

__global__ void big_static_shared(float* out) {
  __shared__ float tile[10240];
  tile[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

__global__ void overrun_shared(float* out, int beyond) {
  __shared__ float tile[64];
  tile[threadIdx.x + beyond] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void missing_barrier(const int* in, int* out) {
  __shared__ int buffer[64];
  buffer[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = buffer[63 - threadIdx.x];
}

__global__ void missing_warp_barrier(const int* in, int* out, bool synchronize) {
  __shared__ int buffer[32];
  buffer[threadIdx.x] = in[threadIdx.x];
  if (synchronize) __syncwarp();
  out[threadIdx.x] = buffer[31 - threadIdx.x];
}

__global__ void blocks_write_one_place(int* out) { out[threadIdx.x] = static_cast<int>(blockIdx.x); }

// ---- access patterns

__global__ void copy_strided(const float* in, float* out, int stride) {
  out[threadIdx.x] = in[static_cast<int64_t>(threadIdx.x) * stride];
}

__global__ void copy_vectors(const float4* in, float4* out) {
  store_vector(out + threadIdx.x, load_vector(in + threadIdx.x));
}

template <int Pitch>
__global__ void transpose(const float* in, float* out) {
  __shared__ float tile[32 * Pitch];
  for (int row = 0; row < 32; ++row) tile[row * Pitch + threadIdx.x] = in[row * 32 + threadIdx.x];
  __syncthreads();
  for (int row = 0; row < 32; ++row) out[row * 32 + threadIdx.x] = tile[threadIdx.x * Pitch + row];
}

}  // namespace genimg::harness_test

namespace test = genimg::harness_test;
using genimg::launch;

#define GENIMG_TEST_LAUNCH(name) extern "C" __attribute__((visibility("default"))) int name

GENIMG_TEST_LAUNCH(run_block_sum)(const float* in, int n, float* sums) {
  return launch((n + 255) / 256, 256, 0, nullptr, test::block_sum, in, n, sums);
}
GENIMG_TEST_LAUNCH(run_reverse)(const int* in, int n, size_t bytes, int* out) {
  return launch(1, n, bytes, nullptr, test::reverse_in_dynamic_shared, in, out);
}
GENIMG_TEST_LAUNCH(run_collectives)(unsigned* out, int* counter) {
  return launch(1, 64, 0, nullptr, test::collectives, out, counter);
}
GENIMG_TEST_LAUNCH(run_reads_unwritten_shared)(float* out) {
  return launch(2, 32, 0, nullptr, test::reads_unwritten_shared, out);
}
GENIMG_TEST_LAUNCH(run_barrier_for_some)(int* out) { return launch(1, 64, 0, nullptr, test::barrier_for_some, out); }
GENIMG_TEST_LAUNCH(run_two_barriers)(int* out) { return launch(1, 64, 0, nullptr, test::two_barriers, out); }
GENIMG_TEST_LAUNCH(run_shuffle_with_absent_lanes)(int* out) {
  return launch(1, 64, 0, nullptr, test::shuffle_with_absent_lanes, out);
}
GENIMG_TEST_LAUNCH(run_shuffle_outside_mask)(int* out) {
  return launch(1, 64, 0, nullptr, test::shuffle_outside_mask, out);
}
GENIMG_TEST_LAUNCH(run_big_static_shared)(float* out, size_t dynamic, int opt_in) {
  if (opt_in >= 0) {
    const cudaError_t error =
        cudaFuncSetAttribute(test::big_static_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, opt_in);
    if (error != cudaSuccess) return error;
  }
  return launch(1, 64, dynamic, nullptr, test::big_static_shared, out);
}
GENIMG_TEST_LAUNCH(run_grid_of)(unsigned x, unsigned y, unsigned z, unsigned threads, int* out) {
  return launch(dim3(x, y, z), threads, 0, nullptr, test::blocks_write_one_place, out);
}
GENIMG_TEST_LAUNCH(run_overrun_shared)(float* out, int beyond) {
  return launch(1, 64, 0, nullptr, test::overrun_shared, out, beyond);
}
GENIMG_TEST_LAUNCH(run_missing_barrier)(const int* in, int* out) {
  return launch(1, 64, 0, nullptr, test::missing_barrier, in, out);
}
GENIMG_TEST_LAUNCH(run_missing_warp_barrier)(const int* in, int* out, bool synchronize) {
  return launch(1, 32, 0, nullptr, test::missing_warp_barrier, in, out, synchronize);
}
GENIMG_TEST_LAUNCH(run_copy_strided)(const float* in, float* out, int stride) {
  return launch(1, 32, 0, nullptr, test::copy_strided, in, out, stride);
}
GENIMG_TEST_LAUNCH(run_copy_vectors)(const float4* in, float4* out) {
  return launch(1, 32, 0, nullptr, test::copy_vectors, in, out);
}
GENIMG_TEST_LAUNCH(run_transpose)(const float* in, float* out, bool padded) {
  const auto kernel = padded ? test::transpose<33> : test::transpose<32>;
  return launch(1, 32, 0, nullptr, kernel, in, out);
}
GENIMG_TEST_LAUNCH(run_fragment_product)(const uint32_t* a, const uint32_t* b, float* d, int kind) {
  using namespace genimg::gram;
  const auto kernel = kind == 0   ? test::fragment_product<HalfPair>
                      : kind == 1 ? test::fragment_product<BFloatPair>
                                  : test::fragment_product<TFloat>;
  return launch(1, 32, 0, nullptr, kernel, a, b, d);
}
GENIMG_TEST_LAUNCH(run_round_to_tfloat)(const float* in, unsigned n, uint32_t* out) {
  return launch(1, n, 0, nullptr, test::round_to_tfloat, in, out);
}
