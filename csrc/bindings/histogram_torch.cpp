// The histogram operators on CPU tensors.
#include "bindings/histogram_torch.h"

#include "bindings/histogram_schema.h"

namespace genimg::bindings {
namespace {

struct Kernels {
  template <typename T, typename R>
  static void match(const std::vector<histogram::Batch<T, R>>& batches, histogram::Method method, bool is_sorted,
                    const Tensor&) {
    histogram::Matching<T, R> matching;
    for (const histogram::Batch<T, R>& batch : batches)
      matching.add(batch.source, batch.reference, is_sorted, batch.out);
    matching.run(method, torch_executor());
  }

  template <typename T>
  static void sort(const histogram::Rows<T>& rows, T* sorted, const Tensor&) {
    histogram::sort_rows(rows, sorted, torch_executor());
  }

  template <Derivative derivative, typename T>
  static void differentiate(const histogram::Rows<T>& source, const histogram::Rows<T>& reference, const T* direction,
                            T* out, histogram::Method method, const Tensor&) {
    constexpr bool is_tangent = derivative == Derivative::tangent;
    const int64_t in_size = is_tangent ? reference.size : source.size;
    const int64_t out_size = is_tangent ? source.size : reference.size;
    std::vector<histogram::LinearSegment<T>> segments;
    for (int64_t row = 0; row < source.rows; ++row)
      segments.push_back({source[row], reference[row], direction + row * in_size, out + row * out_size});
    const auto function = is_tangent ? &histogram::tangent<T> : &histogram::adjoint<T>;
    function(segments.data(), source.rows, method, torch_executor());
  }
};

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m) { GENIMG_HISTOGRAM_SCHEMAS(m); }
STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) { HistogramOperators<Kernels>::implement(m); }

}  // namespace
}  // namespace genimg::bindings
