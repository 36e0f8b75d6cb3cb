// The launchers of histogram/cuda.h with C names, for programs without torch.
#include "histogram/cuda.h"

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default")))

namespace cuda = genimg::histogram::cuda;
using genimg::histogram::Batch;
using genimg::histogram::Method;
using genimg::histogram::Rows;

#define GENIMG_MATCH(T, R, suffix)                                                                        \
  GENIMG_EXPORT size_t match_workspace_##suffix(const Batch<T, R>* batches, int count, Method method) {   \
    return cuda::match_workspace(batches, count, method);                                                 \
  }                                                                                                       \
  GENIMG_EXPORT cudaError_t launch_match_##suffix(const Batch<T, R>* batches, int count, Method method,   \
                                                  bool is_sorted, void* workspace, cudaStream_t stream) { \
    return cuda::match(batches, count, method, is_sorted, workspace, stream);                             \
  }
GENIMG_MATCH(float, float, f32)
GENIMG_MATCH(double, double, f64)
GENIMG_MATCH(uint8_t, uint8_t, u8)
GENIMG_MATCH(uint16_t, uint16_t, u16)

#define GENIMG_SORT(T, suffix)                                                                                  \
  GENIMG_EXPORT size_t sort_workspace_##suffix(const Rows<T>* rows) { return cuda::sort_workspace(*rows); }     \
  GENIMG_EXPORT cudaError_t launch_sort_##suffix(const Rows<T>* rows, T* sorted, void* workspace,               \
                                                 cudaStream_t stream) {                                         \
    return cuda::sort(*rows, sorted, workspace, stream);                                                        \
  }                                                                                                             \
  GENIMG_EXPORT size_t linear_workspace_##suffix(const Rows<T>* source, const Rows<T>* reference) {             \
    return cuda::linear_workspace(*source, *reference);                                                         \
  }                                                                                                             \
  GENIMG_EXPORT cudaError_t launch_tangent_##suffix(const Rows<T>* source, const Rows<T>* reference,            \
                                                    const T* direction, T* out, Method method, void* workspace, \
                                                    cudaStream_t stream) {                                      \
    return cuda::tangent(*source, *reference, direction, out, method, workspace, stream);                       \
  }                                                                                                             \
  GENIMG_EXPORT cudaError_t launch_adjoint_##suffix(const Rows<T>* source, const Rows<T>* reference,            \
                                                    const T* direction, T* out, Method method, void* workspace, \
                                                    cudaStream_t stream) {                                      \
    return cuda::adjoint(*source, *reference, direction, out, method, workspace, stream);                       \
  }
GENIMG_SORT(float, f32)
GENIMG_SORT(double, f64)
