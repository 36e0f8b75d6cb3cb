// The Gram operators on CPU tensors.
#include <optional>
#include <tuple>

#include "bindings/gram_schema.h"
#include "bindings/torch.h"
#include "gram/gram.h"

namespace genimg::bindings {
namespace {

template <typename S>
gram::Features<S> features_of(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 4, "gram: expected 4 dimensions, got ", x.dim());
  gram::Features<S> features{static_cast<const S*>(x.const_data_ptr()), {x.size(0), x.size(1), x.size(2), x.size(3)}};
  for (int d = 0; d < 4; ++d) features.strides[d] = x.stride(d);
  return features;
}

template <typename T>
gram::PixelFactors<T> factors_of(const std::optional<Tensor>& factors, const Tensor& x, ScalarType dtype) {
  if (!factors.has_value()) return {};
  STD_TORCH_CHECK(factors->dim() == 3 && factors->is_contiguous() && factors->scalar_type() == dtype &&
                      (factors->size(0) == 1 || factors->size(0) == x.size(0)) && factors->size(1) == x.size(2) &&
                      factors->size(2) == x.size(3),
                  "gram: the factors must be contiguous, of the result's dtype, and of the shape of the pixels");
  return {static_cast<const T*>(factors->const_data_ptr()), factors->size(0) > 1};
}

template <typename S, typename T>
std::tuple<Tensor, Tensor> product_of(const Tensor& x, const std::optional<Tensor>& y,
                                      const std::optional<Tensor>& factors, bool center, double scale) {
  constexpr ScalarType dtype = sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float;
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
  const Tensor out = empty(x, sizes, 3, dtype);
  const int64_t means_sizes[] = {center ? sizes[0] : 0, sizes[1]};
  const Tensor means = empty(x, means_sizes, 2, dtype);
  gram::product<S, T>(features, y.has_value() ? &other : nullptr, factors_of<T>(factors, x, dtype), center, scale,
                      static_cast<T*>(out.mutable_data_ptr()),
                      center ? static_cast<T*>(means.mutable_data_ptr()) : nullptr, torch_executor());
  return {out, means};
}

std::tuple<Tensor, Tensor> product(const Tensor& x, const std::optional<Tensor>& y,
                                   const std::optional<Tensor>& factors, bool center, double scale) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return product_of<float, float>(x, y, factors, center, scale);
    case ScalarType::Double:
      return product_of<double, double>(x, y, factors, center, scale);
    case ScalarType::Half:
      return product_of<gram::Half, float>(x, y, factors, center, scale);
    case ScalarType::BFloat16:
      return product_of<gram::BFloat, float>(x, y, factors, center, scale);
    default:
      STD_TORCH_CHECK(false, "gram_product: no kernel for ", x.scalar_type());
  }
}

template <typename T>
Tensor apply_to(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& factors, bool center,
                bool rectified, double scale) {
  const gram::Features<T> features = features_of<T>(x);
  STD_TORCH_CHECK(matrix.dim() == 3 && matrix.is_contiguous() && matrix.scalar_type() == x.scalar_type() &&
                      matrix.size(0) == features.shape.batch && matrix.size(2) == features.shape.channels,
                  "gram_apply: the matrix must be contiguous, of the dtype of x, (batch, rows, channels)");
  STD_TORCH_CHECK(!rectified || (!center && matrix.size(1) == features.shape.channels),
                  "gram_apply: rectified needs a square matrix and no center");
  const int64_t sizes[] = {features.shape.batch, matrix.size(1), features.shape.rows, features.shape.columns};
  const Tensor out = empty(x, sizes, 4, x.scalar_type());
  gram::apply<T>(static_cast<const T*>(matrix.const_data_ptr()), matrix.size(1), features,
                 factors_of<T>(factors, x, x.scalar_type()), center, rectified, scale,
                 static_cast<T*>(out.mutable_data_ptr()), torch_executor());
  return out;
}

Tensor apply(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& factors, bool center, bool rectified,
             double scale) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return apply_to<float>(matrix, x, factors, center, rectified, scale);
    case ScalarType::Double:
      return apply_to<double>(matrix, x, factors, center, rectified, scale);
    default:
      STD_TORCH_CHECK(false, "gram_apply: no kernel for ", x.scalar_type());
  }
}

STABLE_TORCH_LIBRARY_FRAGMENT(genimg_fast, m) { GENIMG_GRAM_SCHEMAS(m); }
STABLE_TORCH_LIBRARY_IMPL(genimg_fast, CPU, m) {
  m.impl("gram_product", TORCH_BOX(&product));
  m.impl("gram_apply", TORCH_BOX(&apply));
}

}  // namespace
}  // namespace genimg::bindings
