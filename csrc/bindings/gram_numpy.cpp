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

// What a call asks for, and what it gets.
struct Request {
  const std::optional<py::array>& y;
  const std::optional<py::array>& target;
  const std::optional<py::array>& factors;
  bool center, wants_means;
  double scale;
};
struct Result {
  py::array gram, means, sums;
};

template <typename S, typename T>
Result product_of(const py::array& x, const Request& request) {
  const gram::Features<S> features = features_of<S>(x), other = request.y ? features_of<S>(*request.y) : features;
  const int64_t batch = features.shape.batch, channels = features.shape.channels;
  py::array_t<T> gram({batch, channels, other.shape.channels}), means({request.wants_means ? batch : 0, channels}),
      sums({request.target ? batch : 0, int64_t{2}});
  gram::Output<T> out;
  out.gram = gram.mutable_data();
  if (request.wants_means) out.means = means.mutable_data();
  if (request.target) {
    out.target = static_cast<const T*>(request.target->data());
    out.is_target_batched = request.target->shape(0) > 1;
    out.sums = sums.mutable_data();
  }
  const gram::PixelFactors<T> factors = factors_of<T>(request.factors);
  {
    const py::gil_scoped_release release;
    gram::product<S, T>(features, request.y ? &other : nullptr, factors, request.center, request.scale, out,
                        pool_executor());
  }
  return {gram, means, sums};
}

Result dispatch(const py::array& x, const Request& request) {
  if (x.dtype().kind() == 'f') switch (x.itemsize()) {
      case 2:
        return product_of<Half, float>(x, request);
      case 4:
        return product_of<float, float>(x, request);
      case 8:
        return product_of<double, double>(x, request);
    }
  throw py::type_error("gram: no kernel for this dtype");
}

py::array product(const py::array& x, const std::optional<py::array>& y, const std::optional<py::array>& factors,
                  bool center, double scale) {
  return dispatch(x, {y, std::nullopt, factors, center, false, scale}).gram;
}

py::tuple moments(const py::array& x, const std::optional<py::array>& factors, double scale) {
  const Result result = dispatch(x, {std::nullopt, std::nullopt, factors, true, true, scale});
  return py::make_tuple(result.gram, result.means);
}

// target: contiguous, of the result's dtype, (batch or 1, C, C).
py::tuple difference(const py::array& x, const py::array& target, const std::optional<py::array>& factors, bool center,
                     double scale) {
  const Result result = dispatch(x, {std::nullopt, target, factors, center, false, scale});
  return py::make_tuple(result.gram, result.sums);
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
  m.def("gram_moments", &moments);
  m.def("gram_difference", &difference);
  m.def("gram_apply", &apply);
}

}  // namespace genimg::bindings
