// The multi-view functions on NumPy arrays. The Python front has checked dtypes and shapes and allocated the results.
#include <optional>

#include <pybind11/stl.h>

#include "bindings/multiview.h"
#include "bindings/numpy.h"
#include "common/pool.h"

namespace genimg::bindings {
namespace {

namespace py = pybind11;

using Rows = py::array_t<int64_t, py::array::c_style>;
using Tables = py::array_t<int32_t, py::array::c_style>;
using Numbers = py::array_t<double, py::array::c_style>;

multiview::Shape shape_of(const py::array& x) {
  if (x.ndim() != 4 || !(x.flags() & py::array::c_style))
    throw py::value_error("multiview: expected contiguous arrays of 4 axes");
  return {x.shape(0), x.shape(1), static_cast<int32_t>(x.shape(2)), static_cast<int32_t>(x.shape(3))};
}

multiview::Views views_of(const Rows& rows, const Tables& tables) {
  if (rows.ndim() != 2 || rows.shape(1) != kRowSize || rows.shape(0) > multiview::kMaxViews)
    throw py::value_error("multiview: rows must be a plan of at most 64 views");
  return bindings::views_of(rows.data(), rows.shape(0), tables.data());
}

template <typename Function>
void dispatch(const py::array& x, Function function) {
  if (x.dtype().kind() == 'f') switch (x.itemsize()) {
      case 2:
        return function(Half());
      case 4:
        return function(float());
      case 8:
        return function(double());
    }
  throw py::type_error("multiview: no kernel for this dtype");
}

template <typename T>
const T* data_of(const py::array& x) {
  return static_cast<const T*>(x.data());
}
template <typename T>
T* mutable_data_of(py::array& x) {
  return static_cast<T*>(x.mutable_data());
}

void apply(const py::array& x, const Rows& rows, const Tables& tables, int copies, py::array out) {
  const multiview::Views views = views_of(rows, tables);
  const multiview::Shape shape = shape_of(x);
  dispatch(x, [&]<typename T>(T) {
    const T* const from = data_of<T>(x);
    T* const to = mutable_data_of<T>(out);
    const py::gil_scoped_release release;
    multiview::apply<T>(from, shape, views, copies, nullptr, to, pool_executor());
  });
}

// A stack has twice the channels of the result where it holds the variance too.
void reduce(const py::array& stack, const Rows& rows, const Tables& tables, const Numbers& weights, bool guided,
            py::array noise, std::optional<py::array> variance) {
  const multiview::Views inverse = views_of(rows, tables);
  const multiview::Shape shape = shape_of(noise);
  dispatch(stack, [&]<typename T>(T) {
    const auto prediction =
        prediction_of(data_of<T>(stack), guided, stack.shape(1) > shape.channels, weights.data(), inverse.count);
    T* const to = mutable_data_of<T>(noise);
    T* const variance_to = variance ? mutable_data_of<T>(*variance) : nullptr;
    const py::gil_scoped_release release;
    multiview::reduce<T>(prediction, shape, inverse, to, variance_to, pool_executor());
  });
}

void step(const py::array& x, const py::array& stack, const std::optional<py::array>& noise, const Rows& rows,
          const Tables& tables, const Numbers& weights, bool guided, const Numbers& coefficients, int64_t average,
          py::array out) {
  const multiview::Views inverse = views_of(rows, tables);
  const multiview::Shape shape = shape_of(x);
  if (coefficients.size() != kCoefficients) throw py::value_error("multiview: expected 10 coefficients");
  const multiview::Sampling sampling = sampling_of(coefficients.data(), average);
  dispatch(x, [&]<typename T>(T) {
    const auto prediction =
        prediction_of(data_of<T>(stack), guided, stack.shape(1) > shape.channels, weights.data(), inverse.count);
    const T* const from = data_of<T>(x);
    const T* const z = noise ? data_of<T>(*noise) : nullptr;
    T* const to = mutable_data_of<T>(out);
    const py::gil_scoped_release release;
    multiview::step<T>(from, prediction, shape, inverse, sampling, z, to, pool_executor());
  });
}

// Where each pixel of a view comes from, as y W + x.
py::array_t<int32_t> sources(const Rows& row, const Tables& tables, int32_t height, int32_t width) {
  if (row.size() != kRowSize) throw py::value_error("view_sources: expected a row of a plan");
  const multiview::View view = view_of(row.data(), tables.data());
  py::array_t<int32_t> indices({height, width});
  int32_t* const out = indices.mutable_data();
  for (int32_t y = 0; y < height; ++y)
    for (int32_t x = 0; x < width; ++x) out[int64_t{y} * width + x] = multiview::source(view, y, x, height, width);
  return indices;
}

}  // namespace

void register_multiview(py::module_& m) {
  m.def("multiview_apply", &apply);
  m.def("multiview_reduce", &reduce);
  m.def("multiview_step", &step);
  m.def("view_sources", &sources);
}

}  // namespace genimg::bindings
