// The histogram functions on NumPy arrays. The Python front has checked dtypes and shapes and made arrays contiguous.
#include <optional>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/numpy.h"
#include "common/pool.h"
#include "histogram/rows.h"

namespace genimg::bindings {
namespace {

namespace py = pybind11;
using histogram::Method;
using histogram::Rows;

// The last `pooled` axes form a pool, the axes before them are rows.
template <typename T>
Rows<T> rows_of(const py::array& x, const py::object& mask, int64_t pooled) {
  Rows<T> rows{static_cast<const T*>(x.data()), nullptr, 1, 1};
  if (!(x.flags() & py::array::c_style)) throw py::value_error("match_histograms: arrays must be contiguous");
  if (!mask.is_none()) {
    const auto bytes = mask.cast<py::array>();
    if (bytes.itemsize() != 1 || bytes.size() != x.size() || !(bytes.flags() & py::array::c_style))
      throw py::value_error("match_histograms: a mask must be bool, contiguous and of the shape of what it masks");
    rows.mask = static_cast<const uint8_t*>(bytes.data());
  }
  if (pooled < 0) pooled = x.ndim();
  for (int64_t d = 0; d < x.ndim(); ++d) (d < x.ndim() - pooled ? rows.rows : rows.size) *= x.shape(d);
  if (rows.size > histogram::kMaxPool) throw py::value_error("match_histograms: a pool holds at most 2^31 values");
  return rows;
}

// One image and its reference; the masks may be None.
struct Pair {
  py::array image, reference;
  py::object mask, reference_mask;
  py::array out;
};

template <typename T, typename R>
void match_pairs(const std::vector<Pair>& pairs, int64_t pooled, Method method, bool is_sorted) {
  histogram::Matching<T, R> matching;
  for (const Pair& pair : pairs) {
    const Rows<T> image = rows_of<T>(pair.image, pair.mask, pooled);
    const Rows<R> reference = rows_of<R>(pair.reference, pair.reference_mask, pooled);
    if (image.rows > 0 && (reference.rows == 0 || image.rows % reference.rows != 0))
      throw py::value_error("match_histograms: the rows of image and reference do not fit");
    matching.add(image, reference, is_sorted, static_cast<T*>(const_cast<py::array&>(pair.out).mutable_data()));
  }
  const py::gil_scoped_release release;
  matching.run(method, pool_executor());
}

// A dtype's kind and size, like 'f' and 4, as one number.
constexpr int dtype_code(char kind, int size) { return kind * 16 + size; }
int dtype_code(const py::array& x) { return dtype_code(x.dtype().kind(), static_cast<int>(x.itemsize())); }

void match_any(const std::vector<Pair>& pairs, int64_t pooled, int method_number, bool is_sorted) {
  if (pairs.empty()) return;
  constexpr int f32 = dtype_code('f', 4), f64 = dtype_code('f', 8), u8 = dtype_code('u', 1), u16 = dtype_code('u', 2);
  const int type = dtype_code(pairs[0].image), reference_type = dtype_code(pairs[0].reference);
  const auto method = static_cast<Method>(method_number);
  for (const Pair& pair : pairs)
    if (dtype_code(pair.image) != type || dtype_code(pair.reference) != reference_type ||
        dtype_code(pair.out) != type || pair.out.size() != pair.image.size() ||
        !(pair.out.flags() & py::array::c_style))
      throw py::value_error("match_histograms: images, references and outputs of one call must be of one dtype each");
  const bool same = type == reference_type;
  if (type == f32 && same) return match_pairs<float, float>(pairs, pooled, method, is_sorted);
  if (type == f64 && same) return match_pairs<double, double>(pairs, pooled, method, is_sorted);
  if (type == u8 && reference_type == f32) return match_pairs<uint8_t, float>(pairs, pooled, method, is_sorted);
  if (type == u16 && reference_type == f32) return match_pairs<uint16_t, float>(pairs, pooled, method, is_sorted);
  if (type == u8 && same && !is_sorted) return match_pairs<uint8_t, uint8_t>(pairs, pooled, method, false);
  if (type == u16 && same && !is_sorted) return match_pairs<uint16_t, uint16_t>(pairs, pooled, method, false);
  throw py::type_error("match_histograms: no kernel for these dtypes");
}

py::array new_like(const py::array& x) {
  return py::array(x.dtype(), std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
}

py::array match_histograms(const py::array& image, const py::array& reference, const py::object& mask,
                           const py::object& reference_mask, int64_t pooled, int method, bool is_sorted,
                           const std::optional<py::array>& out) {
  const py::array result = out ? *out : new_like(image);
  match_any({{image, reference, mask, reference_mask, result}}, pooled, method, is_sorted);
  return result;
}

void match_histograms_out(const std::vector<py::array>& image, const std::vector<py::array>& reference,
                          const std::vector<py::object>& mask, const std::vector<py::object>& reference_mask,
                          int64_t pooled, int method, bool is_sorted, const std::vector<py::array>& out) {
  std::vector<Pair> pairs;
  for (size_t i = 0; i < image.size(); ++i)
    pairs.push_back({image[i], reference.at(i), mask.at(i), reference_mask.at(i), out.at(i)});
  match_any(pairs, pooled, method, is_sorted);
}

template <typename T>
void sort_any(const py::array& x, const py::object& mask, int64_t pooled, py::array& out) {
  const Rows<T> rows = rows_of<T>(x, mask, pooled);
  T* const sorted = static_cast<T*>(out.mutable_data());
  const py::gil_scoped_release release;
  histogram::sort_rows(rows, sorted, pool_executor());
}

py::array sort_histograms(const py::array& reference, const py::object& mask, int64_t pooled) {
  py::array out = new_like(reference);
  switch (dtype_code(reference)) {
    case dtype_code('f', 4):
      sort_any<float>(reference, mask, pooled, out);
      break;
    case dtype_code('f', 8):
      sort_any<double>(reference, mask, pooled, out);
      break;
    default:
      throw py::type_error("sort_histograms: no kernel for this dtype");
  }
  return out;
}

}  // namespace

void register_histogram(py::module_& m) {
  m.def("match_histograms", &match_histograms);
  m.def("match_histograms_out", &match_histograms_out);
  m.def("sort_histograms", &sort_histograms);
}

}  // namespace genimg::bindings
