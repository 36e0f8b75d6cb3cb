// The Gram operators on any device: checks, dtypes and outputs stand here; Kernels is what differs, the CPU's
// (gram_torch.cpp) or CUDA's (gram_torch_cuda.cpp).
#pragma once

#include <optional>
#include <tuple>

#include "bindings/torch.h"
#include "gram/gram.h"

namespace genimg::bindings {

// Kernels has, as static members, with S and T of gram.h, and where `like` is a tensor of the device:
//   product(x, y, factors, center, scale, tf32, output, like)
//   apply(matrix, matrix rows, x, factors, center, rectified, scale, tf32, out, like)
template <typename Kernels>
class GramOperators {
 public:
  static void implement(torch::stable::detail::StableLibrary& m) {
    m.impl("gram_product", TORCH_BOX(&product));
    m.impl("gram_moments", TORCH_BOX(&moments));
    m.impl("gram_difference", TORCH_BOX(&difference));
    m.impl("gram_apply", TORCH_BOX(&apply));
  }

 private:
  using Pair = std::tuple<Tensor, Tensor>;

  struct Options {
    const std::optional<Tensor>& factors;
    bool center;
    double scale;
    bool tf32;
  };

  template <typename T>
  static constexpr ScalarType dtype_of = sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float;

  template <typename S>
  static gram::Features<S> features_of(const Tensor& x) {
    STD_TORCH_CHECK(x.dim() == 4, "gram: expected 4 dimensions, got ", x.dim());
    gram::Features<S> features{static_cast<const S*>(x.const_data_ptr()), {x.size(0), x.size(1), x.size(2), x.size(3)}};
    for (int d = 0; d < 4; ++d) features.strides[d] = x.stride(d);
    return features;
  }

  template <typename T>
  static gram::PixelFactors<T> factors_of(const std::optional<Tensor>& factors, const Tensor& x) {
    if (!factors.has_value()) return {};
    STD_TORCH_CHECK(factors->dim() == 3 && factors->is_contiguous() && factors->scalar_type() == dtype_of<T> &&
                        (factors->size(0) == 1 || factors->size(0) == x.size(0)) && factors->size(1) == x.size(2) &&
                        factors->size(2) == x.size(3),
                    "gram: the factors must be contiguous, of the result's dtype, and of the shape of the pixels");
    return {static_cast<const T*>(factors->const_data_ptr()), factors->size(0) > 1};
  }

  // function(S, T) for the dtype of x, by values of the types.
  template <typename Function>
  static auto dispatch(const Tensor& x, const char* name, Function function) {
    switch (x.scalar_type()) {
      case ScalarType::Float:
        return function(float(), float());
      case ScalarType::Double:
        return function(double(), double());
      case ScalarType::Half:
        return function(Half(), float());
      case ScalarType::BFloat16:
        return function(BFloat(), float());
      default:
        STD_TORCH_CHECK(false, name, ": no kernel for ", x.scalar_type());
    }
  }

  template <typename S, typename T>
  static Tensor product_of(const Tensor& x, const std::optional<Tensor>& y, const Options& options) {
    const gram::Features<S> features = features_of<S>(x);
    gram::Features<S> other;
    if (y.has_value()) {
      STD_TORCH_CHECK(y->scalar_type() == x.scalar_type(), "gram: x and y must be of one dtype");
      other = features_of<S>(*y);
      STD_TORCH_CHECK(other.shape.batch == features.shape.batch && other.shape.rows == features.shape.rows &&
                          other.shape.columns == features.shape.columns,
                      "gram: x and y must share batch, rows and columns");
    }
    const int64_t sizes[] = {features.shape.batch, features.shape.channels,
                             y.has_value() ? other.shape.channels : features.shape.channels};
    const Tensor gram = empty(x, sizes, 3, dtype_of<T>);
    gram::Output<T> out;
    out.gram = static_cast<T*>(gram.mutable_data_ptr());
    Kernels::product(features, y.has_value() ? &other : nullptr, factors_of<T>(options.factors, x), options.center,
                     options.scale, options.tf32, out, x);
    return gram;
  }

  static Tensor product(const Tensor& x, const std::optional<Tensor>& y, const std::optional<Tensor>& factors,
                        bool center, double scale, bool tf32) {
    return dispatch(x, "gram_product", [&]<typename S, typename T>(S, T) {
      return product_of<S, T>(x, y, {factors, center, scale, tf32});
    });
  }

  template <typename S, typename T>
  static Pair moments_of(const Tensor& x, const Options& options) {
    const gram::Features<S> features = features_of<S>(x);
    const int64_t sizes[] = {features.shape.batch, features.shape.channels, features.shape.channels};
    const Tensor gram = empty(x, sizes, 3, dtype_of<T>), means = empty(x, sizes, 2, dtype_of<T>);
    gram::Output<T> out;
    out.gram = static_cast<T*>(gram.mutable_data_ptr());
    out.means = static_cast<T*>(means.mutable_data_ptr());
    Kernels::product(features, static_cast<const gram::Features<S>*>(nullptr), factors_of<T>(options.factors, x), true,
                     options.scale, options.tf32, out, x);
    return {gram, means};
  }

  static Pair moments(const Tensor& x, const std::optional<Tensor>& factors, double scale, bool tf32) {
    return dispatch(x, "gram_moments",
                    [&]<typename S, typename T>(S, T) { return moments_of<S, T>(x, {factors, true, scale, tf32}); });
  }

  template <typename S, typename T>
  static Pair difference_of(const Tensor& x, const Tensor& target, const Options& options) {
    const gram::Features<S> features = features_of<S>(x);
    const int64_t batch = features.shape.batch, channels = features.shape.channels;
    STD_TORCH_CHECK(target.dim() == 3 && target.is_contiguous() && target.scalar_type() == dtype_of<T> &&
                        (target.size(0) == 1 || target.size(0) == batch) && target.size(1) == channels &&
                        target.size(2) == channels,
                    "gram_difference: the target must be contiguous, of the result's dtype, (batch or 1, C, C)");
    const int64_t sizes[] = {batch, channels, channels}, sums_sizes[] = {batch, 2};
    const Tensor difference = empty(x, sizes, 3, dtype_of<T>), sums = empty(x, sums_sizes, 2, dtype_of<T>);
    gram::Output<T> out;
    out.gram = static_cast<T*>(difference.mutable_data_ptr());
    out.target = static_cast<const T*>(target.const_data_ptr());
    out.is_target_batched = target.size(0) > 1;
    out.sums = static_cast<T*>(sums.mutable_data_ptr());
    Kernels::product(features, static_cast<const gram::Features<S>*>(nullptr), factors_of<T>(options.factors, x),
                     options.center, options.scale, options.tf32, out, x);
    return {difference, sums};
  }

  static Pair difference(const Tensor& x, const Tensor& target, const std::optional<Tensor>& factors, bool center,
                         double scale, bool tf32) {
    return dispatch(x, "gram_difference", [&]<typename S, typename T>(S, T) {
      return difference_of<S, T>(x, target, {factors, center, scale, tf32});
    });
  }

  template <typename T>
  static Tensor apply_to(const Tensor& matrix, const Tensor& x, bool rectified, const Options& options) {
    const gram::Features<T> features = features_of<T>(x);
    STD_TORCH_CHECK(matrix.dim() == 3 && matrix.is_contiguous() && matrix.scalar_type() == x.scalar_type() &&
                        matrix.size(0) == features.shape.batch && matrix.size(2) == features.shape.channels,
                    "gram_apply: the matrix must be contiguous, of the dtype of x, (batch, rows, channels)");
    STD_TORCH_CHECK(!rectified || (!options.center && matrix.size(1) == features.shape.channels),
                    "gram_apply: rectified needs a square matrix and no center");
    const int64_t sizes[] = {features.shape.batch, matrix.size(1), features.shape.rows, features.shape.columns};
    const Tensor out = empty(x, sizes, 4, x.scalar_type());
    Kernels::apply(static_cast<const T*>(matrix.const_data_ptr()), matrix.size(1), features,
                   factors_of<T>(options.factors, x), options.center, rectified, options.scale, options.tf32,
                   static_cast<T*>(out.mutable_data_ptr()), x);
    return out;
  }

  static Tensor apply(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& factors, bool center,
                      bool rectified, double scale, bool tf32) {
    const Options options{factors, center, scale, tf32};
    switch (x.scalar_type()) {
      case ScalarType::Float:
        return apply_to<float>(matrix, x, rectified, options);
      case ScalarType::Double:
        return apply_to<double>(matrix, x, rectified, options);
      default:
        STD_TORCH_CHECK(false, "gram_apply: no kernel for ", x.scalar_type());
    }
  }
};

}  // namespace genimg::bindings
