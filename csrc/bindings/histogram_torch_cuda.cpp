// The histogram operators on CUDA tensors, and on the host's harness.
#include <algorithm>

#include "bindings/histogram_schema.h"
#include "bindings/histogram_torch.h"
#include "bindings/torch_cuda.h"
#include "histogram/cuda.h"

namespace genimg::bindings {
namespace {

struct CudaKernels {
  template <typename T, typename R>
  static void match(const std::vector<histogram::Batch<T, R>>& batches, histogram::Method method, bool is_sorted,
                    const Tensor& like) {
    const DeviceGuard guard(like);
    for (size_t first = 0; first < batches.size(); first += histogram::cuda::kMaxBatches) {
      const histogram::Batch<T, R>* some = &batches[first];
      const int count = static_cast<int>(std::min<size_t>(batches.size() - first, histogram::cuda::kMaxBatches));
      const Tensor workspace = new_workspace(like, histogram::cuda::match_workspace(some, count, method));
      check_launch(
          histogram::cuda::match(some, count, method, is_sorted, workspace.mutable_data_ptr(), current_stream(like)),
          "match_histograms");
    }
  }

  template <typename T>
  static void sort(const histogram::Rows<T>& rows, T* sorted, const Tensor& like) {
    const DeviceGuard guard(like);
    const Tensor workspace = new_workspace(like, histogram::cuda::sort_workspace(rows));
    check_launch(histogram::cuda::sort(rows, sorted, workspace.mutable_data_ptr(), current_stream(like)),
                 "sort_histograms");
  }

  template <Derivative derivative, typename T>
  static void differentiate(const histogram::Rows<T>& source, const histogram::Rows<T>& reference, const T* direction,
                            T* out, histogram::Method method, const Tensor& like) {
    const DeviceGuard guard(like);
    const auto function =
        derivative == Derivative::tangent ? &histogram::cuda::tangent<T> : &histogram::cuda::adjoint<T>;
    const Tensor workspace = new_workspace(like, histogram::cuda::linear_workspace(source, reference));
    check_launch(
        function(source, reference, direction, out, method, workspace.mutable_data_ptr(), current_stream(like)),
        "match_histograms");
  }
};

#if defined(GENIMG_CUDA_ON_CPU)
GENIMG_LIBRARY_FRAGMENT(GENIMG_CUDA_NAMESPACE, m) { GENIMG_HISTOGRAM_SCHEMAS(m); }
#endif
GENIMG_LIBRARY_IMPL(GENIMG_CUDA_NAMESPACE, GENIMG_CUDA_KEY, m) { HistogramOperators<CudaKernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
