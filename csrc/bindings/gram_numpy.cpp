// The Gram functions on NumPy arrays. The Python front has checked dtypes and shapes.
#include <optional>

#include <pybind11/stl.h>

#include "bindings/numpy.h"
#include "common/pool.h"
#include "gram/gram.h"

namespace genimg::bindings {
namespace {

namespace py = pybind11;

template <typename S>
gram::Features<S> features_of(const py::array& x) {
  if (x.ndim() != 4) throw py::value_error("gram: expected 4 axes");
  gram::Features<S> features{static_cast<const S*>(x.data()), {x.shape(0), x.shape(1), x.shape(2), x.shape(3)}};
  for (int d = 0; d < 4; ++d) {
    if (x.strides(d) % x.itemsize() != 0) throw py::value_error("gram: strides must be multiples of the item size");
    features.strides[d] = x.strides(d) / x.itemsize();
  }
  return features;
}

template <typename T>
gram::PixelFactors<T> factors_of(const std::optional<py::array>& factors) {
  if (!factors) return {};
  return {static_cast<const T*>(factors->data()), factors->shape(0) > 1};
}

template <typename S, typename T>
py::tuple product_of(const py::array& x, const std::optional<py::array>& y, const std::optional<py::array>& target,
                     const std::optional<py::array>& factors, bool center, double scale) {
  const gram::Features<S> features = features_of<S>(x), other = y ? features_of<S>(*y) : features;
  const int64_t batch = features.shape.batch, channels = features.shape.channels;
  py::array_t<T> gram({batch, channels, other.shape.channels});
  py::array_t<T> means({center ? batch : 0, channels}), sums({target ? batch : 0, int64_t{2}});
  gram::Output<T> out;
  out.gram = gram.mutable_data();
  if (center) out.means = means.mutable_data();
  if (target) {
    out.target = static_cast<const T*>(target->data());
    out.is_target_batched = target->shape(0) > 1;
    out.sums = sums.mutable_data();
  }
  const gram::PixelFactors<T> pixel_factors = factors_of<T>(factors);
  {
    const py::gil_scoped_release release;
    gram::product<S, T>(features, y ? &other : nullptr, pixel_factors, center, scale, out, pool_executor());
  }
  return py::make_tuple(gram, target ? sums : means);
}

py::tuple product_or_difference(const py::array& x, const std::optional<py::array>& y,
                                const std::optional<py::array>& target, const std::optional<py::array>& factors,
                                bool center, double scale) {
  if (x.dtype().kind() == 'f') switch (x.itemsize()) {
      case 2:
        return product_of<gram::Half, float>(x, y, target, factors, center, scale);
      case 4:
        return product_of<float, float>(x, y, target, factors, center, scale);
      case 8:
        return product_of<double, double>(x, y, target, factors, center, scale);
    }
  throw py::type_error("gram: no kernel for this dtype");
}

py::tuple product(const py::array& x, const std::optional<py::array>& y, const std::optional<py::array>& factors,
                  bool center, double scale) {
  return product_or_difference(x, y, std::nullopt, factors, center, scale);
}

// target: contiguous, of the result's dtype, (batch or 1, C, C).
py::tuple difference(const py::array& x, const py::array& target, const std::optional<py::array>& factors, bool center,
                     double scale) {
  return product_or_difference(x, std::nullopt, target, factors, center, scale);
}

template <typename T>
py::array apply_to(const py::array& matrix, const py::array& x, const std::optional<py::array>& factors, bool center,
                   bool rectified, double scale) {
  const gram::Features<T> features = features_of<T>(x);
  py::array_t<T> out(
      {features.shape.batch, static_cast<int64_t>(matrix.shape(1)), features.shape.rows, features.shape.columns});
  T* const data = out.mutable_data();
  const T* const matrix_data = static_cast<const T*>(matrix.data());
  const int64_t rows = matrix.shape(1);
  const gram::PixelFactors<T> pixel_factors = factors_of<T>(factors);
  const py::gil_scoped_release release;
  gram::apply<T>(matrix_data, rows, features, pixel_factors, center, rectified, scale, data, pool_executor());
  return out;
}

py::array apply(const py::array& matrix, const py::array& x, const std::optional<py::array>& factors, bool center,
                bool rectified, double scale) {
  if (!(matrix.flags() & py::array::c_style) || matrix.ndim() != 3 || !matrix.dtype().equal(x.dtype()))
    throw py::value_error("gram_apply: the matrix must be contiguous, with 3 axes, of the dtype of x");
  if (x.dtype().kind() == 'f' && x.itemsize() == 4)
    return apply_to<float>(matrix, x, factors, center, rectified, scale);
  if (x.dtype().kind() == 'f' && x.itemsize() == 8)
    return apply_to<double>(matrix, x, factors, center, rectified, scale);
  throw py::type_error("gram_apply: no kernel for this dtype");
}

}  // namespace

void register_gram(py::module_& m) {
  m.def("gram_product", &product);
  m.def("gram_difference", &difference);
  m.def("gram_apply", &apply);
}

}  // namespace genimg::bindings
