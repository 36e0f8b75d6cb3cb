#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "bindings/numpy.h"
#include "common/pool.h"
#include "steerable/space.h"
#include "steerable/space_filters.h"

namespace py = pybind11;

namespace genimg::bindings {
namespace {

using steerable::SpacePyramid;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

SpacePyramid space_pyramid(int64_t height, int64_t width, int order, int levels, int edge) {
  if (!steerable::is_spatial_order(order)) throw py::value_error("order must be 0, 1, 3 or 5");
  if (levels < 0 || levels > steerable::kMaxSpaceLevels) throw py::value_error("levels is out of range");
  if (edge < 0 || edge >= steerable::kEdges) throw py::value_error("edge is out of range");
  const SpacePyramid pyramid = {height, width, static_cast<int>(levels), static_cast<int>(order),
                                static_cast<steerable::Edge>(edge)};
  if (!steerable::fits(pyramid)) throw py::value_error("the image is too small for these levels");
  return pyramid;
}

std::vector<py::ssize_t> with_size(const py::array& like, int64_t height, int64_t width) {
  std::vector<py::ssize_t> shape(like.shape(), like.shape() + like.ndim());
  shape[shape.size() - 2] = height;
  shape[shape.size() - 1] = width;
  return shape;
}

int64_t batch_of(const py::array& x) {
  int64_t batch = 1;
  for (py::ssize_t d = 0; d + 2 < x.ndim(); ++d) batch *= x.shape(d);
  return batch;
}

template <typename T>
py::list space_analysis(const Array<T>& image, int order, int levels, int edge) {
  if (image.ndim() < 2) throw py::value_error("image must have at least 2 dimensions");
  const int64_t height = image.shape(image.ndim() - 2), width = image.shape(image.ndim() - 1), batch = batch_of(image);
  const SpacePyramid pyramid = space_pyramid(height, width, order, levels, edge);
  py::list out;
  std::vector<T*> pointers;
  for (int i = 0; i < pyramid.coefficients(); ++i) {
    const int level = pyramid.level_of(i);
    Array<T> array(with_size(image, steerable::level_length(height, level), steerable::level_length(width, level)));
    pointers.push_back(array.mutable_data());
    out.append(std::move(array));
  }
  const T* const data = image.data();
  const py::gil_scoped_release release;
  if (batch > 0) steerable::space_analysis(pyramid, data, batch, pointers.data(), pool_executor());
  return out;
}

template <typename T>
Array<T> space_synthesis(const std::vector<Array<T>>& coefficients, const std::vector<int>& positions, int64_t height,
                         int64_t width, int order, int levels, int edge) {
  const SpacePyramid pyramid = space_pyramid(height, width, order, levels, edge);
  if (coefficients.empty() || coefficients.size() != positions.size())
    throw py::value_error("expected as many coefficients as positions and at least one");
  const int64_t batch = batch_of(coefficients[0]);
  std::vector<const T*> pointers(pyramid.coefficients(), nullptr);
  for (size_t i = 0; i < coefficients.size(); ++i) {
    if (positions[i] < 0 || positions[i] >= pyramid.coefficients()) throw py::value_error("a position is out of range");
    const int level = pyramid.level_of(positions[i]);
    const Array<T>& c = coefficients[i];
    if (c.ndim() < 2 ||
        c.size() != batch * steerable::level_length(height, level) * steerable::level_length(width, level))
      throw py::value_error("a coefficient does not have its level's size");
    pointers[positions[i]] = c.data();
  }
  Array<T> image(with_size(coefficients[0], height, width));
  T* const data = image.mutable_data();
  const py::gil_scoped_release release;
  if (batch > 0) steerable::space_synthesis(pyramid, pointers.data(), batch, data, pool_executor());
  return image;
}

Array<double> as_array(const steerable::Filter& filter) {
  Array<double> out({filter.size, filter.size});
  for (int y = 0; y < filter.size; ++y)
    for (int x = 0; x < filter.size; ++x) out.mutable_at(y, x) = filter.taps[y][x];
  return out;
}

py::dict spatial_filters(int order) {
  if (!steerable::is_spatial_order(order)) throw py::value_error("order must be 0, 1, 3 or 5");
  const steerable::FilterBank& bank = steerable::filter_bank(order);
  py::list bands;
  for (int b = 0; b <= order; ++b) bands.append(as_array(bank.bands[b]));
  py::dict out;
  out["hi0"] = as_array(bank.hi0);
  out["lo0"] = as_array(bank.lo0);
  out["lo"] = as_array(bank.lo);
  out["bands"] = bands;
  return out;
}

}  // namespace

void register_steerable_space(py::module_& m) {
  m.def("spatial_filters", &spatial_filters, py::arg("order"));
  m.def("space_analysis", &space_analysis<float>, py::arg("image").noconvert(), py::arg("order"), py::arg("levels"),
        py::arg("edge"));
  m.def("space_analysis", &space_analysis<double>, py::arg("image").noconvert(), py::arg("order"), py::arg("levels"),
        py::arg("edge"));
  m.def("space_synthesis", &space_synthesis<float>, py::arg("coefficients").noconvert(), py::arg("positions"),
        py::arg("height"), py::arg("width"), py::arg("order"), py::arg("levels"), py::arg("edge"));
  m.def("space_synthesis", &space_synthesis<double>, py::arg("coefficients").noconvert(), py::arg("positions"),
        py::arg("height"), py::arg("width"), py::arg("order"), py::arg("levels"), py::arg("edge"));
}

}  // namespace genimg::bindings
