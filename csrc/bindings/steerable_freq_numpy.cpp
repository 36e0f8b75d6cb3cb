#include <pybind11/stl.h>

#include <complex>

#include "bindings/numpy.h"
#include "bindings/steerable_freq.h"
#include "common/pool.h"

namespace py = pybind11;

namespace genimg::bindings {
namespace {

using Ints = std::vector<int64_t>;
using Floats = std::vector<double>;

py::dtype number(bool f64, bool is_complex) {
  if (is_complex) return f64 ? py::dtype::of<std::complex<double>>() : py::dtype::of<std::complex<float>>();
  return f64 ? py::dtype::of<double>() : py::dtype::of<float>();
}

bool is_double(const py::array& x) {
  return x.dtype().equal(number(true, false)) || x.dtype().equal(number(true, true));
}

py::array empty(const Shape& shape, const py::dtype& dtype) {
  return py::array(dtype, std::vector<py::ssize_t>(shape.sizes.begin(), shape.sizes.begin() + shape.dims));
}

// x itself if it is contiguous, else a copy.
py::array checked(const py::array& x, const Shape& shape, const py::dtype& dtype) {
  bool same = x.ndim() == shape.dims && x.dtype().equal(dtype);
  for (int64_t d = 0; same && d < shape.dims; ++d) same = x.shape(d) == shape.sizes[static_cast<size_t>(d)];
  if (!same) throw py::value_error("steerable_freq: an array has a shape or a dtype that does not fit the pyramid");
  return py::array::ensure(x, py::array::c_style);
}

template <typename Domain, typename Map>
std::vector<py::array> run_analysis(const py::array& given, const FreqRequest& request, Map map) {
  const bool f64 = is_double(given);
  const int64_t batch = given.ndim() == 3 ? given.shape(0) : 0;
  const py::array image = checked(given, Domain::image(request, batch), number(f64, Domain::image_is_complex));
  std::vector<py::array> outputs;
  for (int k = 0; k < request.coefficients(); ++k) {
    if (!request.wants(k)) continue;
    outputs.push_back(empty(Domain::coefficient(request, k, batch), number(f64, Domain::is_complex(request, k))));
    if (!request.wants_all(k)) std::memset(outputs.back().mutable_data(), 0, outputs.back().nbytes());
  }
  const auto run = [&]<typename T>(T) {
    std::vector<T*> pointers;
    for (py::array& output : outputs) pointers.push_back(static_cast<T*>(output.mutable_data()));
    const T* source = static_cast<const T*>(image.data());
    const py::gil_scoped_release release;
    map(request, source, batch, request.coefficients_at(pointers));
  };
  if (batch > 0) f64 ? run(double()) : run(float());
  return outputs;
}

template <typename Domain, typename Map>
py::array run_synthesis(const std::vector<py::array>& given, const FreqRequest& request, Map map) {
  if (given.empty()) throw py::value_error("steerable_freq: no coefficients were given");
  const bool f64 = is_double(given[0]);
  const int64_t batch = given[0].ndim() > 0 ? given[0].shape(0) : 0;
  std::vector<py::array> sources;
  for (int k = 0; k < request.coefficients(); ++k) {
    if (!request.wants(k)) continue;
    if (sources.size() == given.size()) throw py::value_error("steerable_freq: coefficients are missing");
    sources.push_back(checked(given[sources.size()], Domain::coefficient(request, k, batch),
                              number(f64, Domain::is_complex(request, k))));
  }
  py::array image = empty(Domain::image(request, batch), number(f64, Domain::image_is_complex));
  const auto run = [&]<typename T>(T) {
    std::vector<const T*> pointers;
    for (const py::array& source : sources) pointers.push_back(static_cast<const T*>(source.data()));
    T* target = static_cast<T*>(image.mutable_data());
    const py::gil_scoped_release release;
    map(request, request.coefficients_at(pointers), batch, target);
  };
  if (batch > 0) f64 ? run(double()) : run(float());
  return image;
}

std::vector<py::array> analysis(const py::array& image, const Ints& pyramid, double twidth, const Ints& subset,
                                const Floats& scales) {
  return run_analysis<InSpace>(
      image, freq_request(pyramid, twidth, subset, scales),
      [](const auto& request, const auto&... rest) { steerable::analysis(request.pyramid, rest..., pool_executor()); });
}

py::array synthesis(const std::vector<py::array>& coefficients, const Ints& pyramid, double twidth, const Ints& subset,
                    const Floats& scales, bool real_part_only) {
  return run_synthesis<InSpace>(coefficients, freq_request(pyramid, twidth, subset, scales),
                                [real_part_only](const auto& request, auto in, const auto&... rest) {
                                  in.real_part_only = real_part_only;
                                  steerable::synthesis(request.pyramid, in, rest..., pool_executor());
                                });
}

std::vector<py::array> analysis_masks(const py::array& spectrum, const Ints& pyramid, double twidth, const Ints& subset,
                                      const Floats& scales) {
  return run_analysis<InFrequency>(spectrum, freq_request(pyramid, twidth, subset, scales),
                                   [](const auto& request, const auto&... rest) {
                                     steerable::analysis_masks(request.pyramid, rest..., pool_executor());
                                   });
}

py::array synthesis_masks(const std::vector<py::array>& spectra, const Ints& pyramid, double twidth, const Ints& subset,
                          const Floats& scales) {
  return run_synthesis<InFrequency>(spectra, freq_request(pyramid, twidth, subset, scales),
                                    [](const auto& request, const auto&... rest) {
                                      steerable::synthesis_masks(request.pyramid, rest..., pool_executor());
                                    });
}

// Whether analysis and synthesis above serve this pyramid.
bool has_fused_transform(const Ints& pyramid, double twidth) {
  const size_t n = static_cast<size_t>(pyramid.at(2) + 2);
  return steerable::has_fused_transform(freq_request(pyramid, twidth, Ints(n), Floats(n)).pyramid);
}

}  // namespace

void register_steerable_freq(py::module_& m) {
  m.def("steerable_freq_has_fused_transform", &has_fused_transform);
  m.def("steerable_freq_analysis", &analysis);
  m.def("steerable_freq_synthesis", &synthesis);
  m.def("steerable_freq_analysis_masks", &analysis_masks);
  m.def("steerable_freq_synthesis_masks", &synthesis_masks);
}

}  // namespace genimg::bindings
