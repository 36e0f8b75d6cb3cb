#include "on_cpu/runtime.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "on_cpu/symbols.h"

namespace {

constexpr size_t kAlignment = 256;
constexpr int kUnwritten = 0xFF;
constexpr size_t kSharedBytes = 48 << 10;  // without asking for more
constexpr size_t kMaxSharedBytes = 227 << 10;
constexpr int kMultiprocessors = 4;
int compute_capability = 9;  // its major number

cudaError_t last_error = cudaSuccess;

std::unordered_map<const void*, size_t>& dynamic_shared_limits() {
  static std::unordered_map<const void*, size_t> limits;
  return limits;
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (posix_memalign(pointer, kAlignment, bytes) != 0) return last_error = cudaErrorMemoryAllocation;
  std::memset(*pointer, kUnwritten, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (bytes) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  if (bytes) std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) { return cudaMemset(to, value, bytes); }

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = genimg::cuda_on_cpu::kMaxThreads;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = compute_capability;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kMaxSharedBytes;
      return cudaSuccess;
  }
  return last_error = cudaErrorInvalidValue;
}

cudaError_t cudaDeviceSynchronize() { return last_error; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return last_error; }
cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    default:
      return genimg::cuda_on_cpu::last_error_message();
  }
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  const size_t taken = genimg::cuda_on_cpu::kernel_symbols(kernel).static_shared_bytes;
  if (value < 0 || value + taken > kMaxSharedBytes) return last_error = cudaErrorInvalidValue;
  dynamic_shared_limits()[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

namespace genimg::cuda_on_cpu {
namespace {

// What is wrong with a launch before it starts, or null.
const char* flaw(const Launch& launch) {
  const dim3 g = launch.grid, b = launch.block;
  if (!g.x || !g.y || !g.z || !b.x || !b.y || !b.z) return "a size of the grid or block is 0";
  if (g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) return "the grid is larger than 2^31 - 1, 65535, 65535";
  if (b.x > 1024 || b.y > 1024 || b.z > 64) return "the block is larger than 1024, 1024, 64";
  if (static_cast<uint64_t>(b.x) * b.y * b.z > kMaxThreads) return "the block has more than 1024 threads";
  const size_t taken = kernel_symbols(launch.kernel).static_shared_bytes;
  const auto limit = dynamic_shared_limits().find(launch.kernel);
  const bool opted_in = limit != dynamic_shared_limits().end() && limit->second >= launch.dynamic_shared_bytes;
  if (!opted_in && taken + launch.dynamic_shared_bytes > kSharedBytes)
    return "more than 48 KB of shared memory without opting in";
  return nullptr;
}

}  // namespace

cudaError_t start(const Launch& launch) {
  if (const char* reason = flaw(launch)) {
    record_error("invalid launch of %s: grid (%u, %u, %u), block (%u, %u, %u), %zu bytes of shared memory: %s",
                 kernel_symbols(launch.kernel).name.c_str(), launch.grid.x, launch.grid.y, launch.grid.z,
                 launch.block.x, launch.block.y, launch.block.z, launch.dynamic_shared_bytes, reason);
    return cudaErrorInvalidConfiguration;
  }
  return run_grid(launch) ? cudaSuccess : cudaErrorLaunchFailure;
}

}  // namespace genimg::cuda_on_cpu

// ---- what test programs call

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

GENIMG_EXPORT void* cuda_on_cpu_allocate(size_t bytes) {
  void* pointer = nullptr;
  cudaMalloc(&pointer, bytes);
  return pointer;
}
GENIMG_EXPORT void cuda_on_cpu_free(void* pointer) { cudaFree(pointer); }
GENIMG_EXPORT int64_t cuda_on_cpu_launch_count() { return genimg::cuda_on_cpu::launch_count(); }
GENIMG_EXPORT int64_t cuda_on_cpu_error_count() { return genimg::cuda_on_cpu::error_count(); }
GENIMG_EXPORT const char* cuda_on_cpu_last_error() { return genimg::cuda_on_cpu::last_error_message(); }
GENIMG_EXPORT void cuda_on_cpu_set_reverse_order(int reverse) { genimg::cuda_on_cpu::set_reverse_order(reverse != 0); }
// What launchers are told that the device is: they may choose their kernels by it.
GENIMG_EXPORT void cuda_on_cpu_set_compute_capability(int major) { compute_capability = major; }
