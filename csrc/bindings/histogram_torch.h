// The histogram operators on any device: checks, dtypes and outputs stand here; Kernels is what differs, the CPU's
// (histogram_torch.cpp) or CUDA's (histogram_torch_cuda.cpp).
#pragma once

#include <optional>
#include <vector>

#include "bindings/torch.h"
#include "histogram/rows.h"

namespace genimg::bindings {

enum class Derivative { tangent, adjoint };

// Kernels has, as static members, for the dtypes of histogram.h:
//   match<T, R>(std::vector<Batch<T, R>>, method, is_sorted, like)
//   sort<T>(rows, sorted, like)
//   differentiate<derivative, T>(source rows, reference rows, direction, out, method, like)
// where `like` is a tensor of the device.
template <typename Kernels>
class HistogramOperators {
 public:
  static void implement(torch::stable::detail::StableLibrary& m) {
    m.impl("match_histograms", TORCH_BOX(&match));
    m.impl("match_histograms_out", TORCH_BOX(&match_out));
    m.impl("sort_histograms", TORCH_BOX(&sort));
    m.impl("match_histograms_tangent", TORCH_BOX(&tangent));
    m.impl("match_histograms_adjoint", TORCH_BOX(&adjoint));
  }

 private:
  using Method = histogram::Method;
  template <typename T>
  using Rows = histogram::Rows<T>;

  // One image and its reference, as they come from the caller; null masks where there are none.
  struct Pair {
    const Tensor &image, &reference;
    const Tensor *mask, *reference_mask;
    const Tensor& out;
  };

  static const uint8_t* mask_data(const Tensor* mask, const Tensor& of) {
    if (mask == nullptr) return nullptr;
    STD_TORCH_CHECK(mask->scalar_type() == ScalarType::Bool && mask->is_contiguous() && mask->numel() == of.numel(),
                    "match_histograms: a mask must be bool, contiguous and of the shape of what it masks");
    return static_cast<const uint8_t*>(mask->const_data_ptr());
  }

  // The last `pooled` axes form a pool, -1 for all of them; the axes before them are rows.
  template <typename T>
  static Rows<T> rows_of(const Tensor& x, const Tensor* mask, int64_t pooled) {
    Rows<T> rows{static_cast<const T*>(x.const_data_ptr()), mask_data(mask, x), 1, 1};
    const auto sizes = x.sizes();
    const int64_t dims = static_cast<int64_t>(sizes.size());
    if (pooled < 0) pooled = dims;
    STD_TORCH_CHECK(pooled <= dims, "match_histograms: ", pooled, " pooled axes of ", dims);
    for (int64_t d = 0; d < dims; ++d) (d < dims - pooled ? rows.rows : rows.size) *= sizes[d];
    STD_TORCH_CHECK(x.is_contiguous(), "match_histograms: tensors must be contiguous");
    STD_TORCH_CHECK(rows.size <= histogram::kMaxPool, "match_histograms: a pool holds at most 2^31 values, got ",
                    rows.size);
    return rows;
  }

  template <typename T, typename R>
  static void match_pairs(const std::vector<Pair>& pairs, int64_t pooled, Method method, bool is_sorted) {
    std::vector<histogram::Batch<T, R>> batches;
    batches.reserve(pairs.size());
    for (const Pair& pair : pairs) {
      const Rows<T> image = rows_of<T>(pair.image, pair.mask, pooled);
      const Rows<R> reference = rows_of<R>(pair.reference, pair.reference_mask, pooled);
      STD_TORCH_CHECK(image.rows == 0 || (reference.rows > 0 && image.rows % reference.rows == 0),
                      "match_histograms: ", reference.rows, " rows of references for ", image.rows, " rows");
      batches.push_back({image, reference, static_cast<T*>(pair.out.mutable_data_ptr())});
    }
    Kernels::match(batches, method, is_sorted, pairs[0].image);
  }

  static void match_any(const std::vector<Pair>& pairs, int64_t pooled, int64_t method_number, bool is_sorted) {
    if (pairs.empty()) return;
    const auto method = static_cast<Method>(method_number);
    const ScalarType type = pairs[0].image.scalar_type(), reference_type = pairs[0].reference.scalar_type();
    for (const Pair& pair : pairs)
      STD_TORCH_CHECK(pair.image.scalar_type() == type && pair.reference.scalar_type() == reference_type &&
                          pair.out.scalar_type() == type && pair.out.numel() == pair.image.numel() &&
                          pair.out.is_contiguous(),
                      "match_histograms: images, references and outputs of one call must be of one dtype each");
    const bool same = type == reference_type, to_float = reference_type == ScalarType::Float;
    if (type == ScalarType::Float && same) return match_pairs<float, float>(pairs, pooled, method, is_sorted);
    if (type == ScalarType::Double && same) return match_pairs<double, double>(pairs, pooled, method, is_sorted);
    if (type == ScalarType::Byte && to_float) return match_pairs<uint8_t, float>(pairs, pooled, method, is_sorted);
    if (type == ScalarType::UInt16 && to_float) return match_pairs<uint16_t, float>(pairs, pooled, method, is_sorted);
    if (type == ScalarType::Byte && same && !is_sorted)
      return match_pairs<uint8_t, uint8_t>(pairs, pooled, method, false);
    if (type == ScalarType::UInt16 && same && !is_sorted)
      return match_pairs<uint16_t, uint16_t>(pairs, pooled, method, false);
    STD_TORCH_CHECK(false, "match_histograms: no kernel for an image of ", type, " and a reference of ",
                    reference_type);
  }

  static Tensor new_like(const Tensor& x) {
    return empty(x, x.sizes().data(), static_cast<int64_t>(x.sizes().size()), x.scalar_type());
  }

  static const Tensor* pointer(const std::optional<Tensor>& x) { return x.has_value() ? &*x : nullptr; }
  static const Tensor* pointer(const std::vector<Tensor>& list, size_t i) { return list.empty() ? nullptr : &list[i]; }

  static Tensor match(const Tensor& image, const Tensor& reference, const std::optional<Tensor>& mask,
                      const std::optional<Tensor>& reference_mask, int64_t pooled, int64_t method, bool is_sorted) {
    const Tensor out = new_like(image);
    match_any({{image, reference, pointer(mask), pointer(reference_mask), out}}, pooled, method, is_sorted);
    return out;
  }

  static void match_out(const std::vector<Tensor>& image, const std::vector<Tensor>& reference,
                        const std::vector<Tensor>& mask, const std::vector<Tensor>& reference_mask, int64_t pooled,
                        int64_t method, bool is_sorted, const std::vector<Tensor>& out) {
    const size_t count = image.size();
    STD_TORCH_CHECK(reference.size() == count && out.size() == count && (mask.empty() || mask.size() == count) &&
                        (reference_mask.empty() || reference_mask.size() == count),
                    "match_histograms: lists of different lengths");
    std::vector<Pair> pairs;
    pairs.reserve(count);
    for (size_t i = 0; i < count; ++i)
      pairs.push_back({image[i], reference[i], pointer(mask, i), pointer(reference_mask, i), out[i]});
    match_any(pairs, pooled, method, is_sorted);
  }

  template <typename T>
  static Tensor sort_any(const Tensor& x, const Tensor* mask, int64_t pooled) {
    const Tensor out = new_like(x);
    Kernels::sort(rows_of<T>(x, mask, pooled), static_cast<T*>(out.mutable_data_ptr()), x);
    return out;
  }

  static Tensor sort(const Tensor& reference, const std::optional<Tensor>& mask, int64_t pooled) {
    switch (reference.scalar_type()) {
      case ScalarType::Float:
        return sort_any<float>(reference, pointer(mask), pooled);
      case ScalarType::Double:
        return sort_any<double>(reference, pointer(mask), pooled);
      default:
        STD_TORCH_CHECK(false, "sort_histograms: no kernel for ", reference.scalar_type());
    }
  }

  template <Derivative derivative, typename T>
  static Tensor differentiate_any(const Tensor& direction, const Tensor& image, const Tensor& reference,
                                  const Tensor* mask, const Tensor* reference_mask, int64_t pooled, Method method) {
    constexpr bool is_tangent = derivative == Derivative::tangent;
    const Rows<T> source = rows_of<T>(image, mask, pooled), target = rows_of<T>(reference, reference_mask, pooled);
    STD_TORCH_CHECK(source.rows == target.rows, "match_histograms: derivatives take one reference for each row");
    STD_TORCH_CHECK(direction.is_contiguous() && direction.numel() == (is_tangent ? reference : image).numel(),
                    "match_histograms: the direction has the wrong size");
    const Tensor out = new_like(is_tangent ? image : reference);
    Kernels::template differentiate<derivative>(source, target, static_cast<const T*>(direction.const_data_ptr()),
                                                static_cast<T*>(out.mutable_data_ptr()), method, image);
    return out;
  }

  template <Derivative derivative>
  static Tensor differentiate(const Tensor& direction, const Tensor& image, const Tensor& reference,
                              const std::optional<Tensor>& mask, const std::optional<Tensor>& reference_mask,
                              int64_t pooled, int64_t method_number) {
    const ScalarType type = image.scalar_type();
    const auto method = static_cast<Method>(method_number);
    STD_TORCH_CHECK(reference.scalar_type() == type && direction.scalar_type() == type,
                    "match_histograms: derivatives take one dtype, got ", type, ", ", reference.scalar_type(), ", ",
                    direction.scalar_type());
    switch (type) {
      case ScalarType::Float:
        return differentiate_any<derivative, float>(direction, image, reference, pointer(mask), pointer(reference_mask),
                                                    pooled, method);
      case ScalarType::Double:
        return differentiate_any<derivative, double>(direction, image, reference, pointer(mask),
                                                     pointer(reference_mask), pooled, method);
      default:
        STD_TORCH_CHECK(false, "match_histograms: no derivative for ", type);
    }
  }

  static Tensor tangent(const Tensor& direction, const Tensor& image, const Tensor& reference,
                        const std::optional<Tensor>& mask, const std::optional<Tensor>& reference_mask, int64_t pooled,
                        int64_t method) {
    return differentiate<Derivative::tangent>(direction, image, reference, mask, reference_mask, pooled, method);
  }

  static Tensor adjoint(const Tensor& direction, const Tensor& image, const Tensor& reference,
                        const std::optional<Tensor>& mask, const std::optional<Tensor>& reference_mask, int64_t pooled,
                        int64_t method) {
    return differentiate<Derivative::adjoint>(direction, image, reference, mask, reference_mask, pooled, method);
  }
};

}  // namespace genimg::bindings
