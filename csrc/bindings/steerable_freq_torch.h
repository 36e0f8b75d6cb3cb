// What the torch bindings of the frequency-domain pyramid share, on the CPU and on CUDA.
#pragma once

#include "bindings/steerable_freq.h"
#include "bindings/torch.h"

namespace genimg::bindings {

inline bool is_double(ScalarType type) { return type == ScalarType::Double || type == ScalarType::ComplexDouble; }

inline ScalarType number(bool f64, bool is_complex) {
  if (is_complex) return f64 ? ScalarType::ComplexDouble : ScalarType::ComplexFloat;
  return f64 ? ScalarType::Double : ScalarType::Float;
}

inline void check_tensor(const Tensor& x, const Shape& shape, ScalarType dtype, const char* what) {
  bool same = x.dim() == shape.dims && x.scalar_type() == dtype;
  for (int64_t d = 0; same && d < shape.dims; ++d) same = x.size(d) == shape.sizes[static_cast<size_t>(d)];
  STD_TORCH_CHECK(same, "steerable_freq: ", what, " has a shape or a dtype that does not fit the pyramid");
}

// map(const FreqRequest&, const T* image, int64_t batch, const Coefficients<T>&) fills new tensors: all wanted
// coefficients; bands outside the subset are 0.
template <typename Domain, typename Map>
std::vector<Tensor> run_analysis(const Tensor& image, const FreqRequest& request, Map map) {
  const bool f64 = is_double(image.scalar_type());
  STD_TORCH_CHECK(image.dim() == 3, "steerable_freq: the image must have 3 dimensions, got ", image.dim());
  const int64_t batch = image.size(0);
  check_tensor(image, Domain::image(request, batch), number(f64, Domain::image_is_complex), "the image");
  const Tensor source = torch::stable::contiguous(image);
  std::vector<Tensor> outputs;
  for (int k = 0; k < request.coefficients(); ++k) {
    if (!request.wants(k)) continue;
    const Shape shape = Domain::coefficient(request, k, batch);
    outputs.push_back(empty(source, shape.sizes.data(), shape.dims, number(f64, Domain::is_complex(request, k))));
    if (!request.wants_all(k)) torch::stable::zero_(outputs.back());
  }
  const auto run = [&]<typename T>(T) {
    std::vector<T*> pointers;
    for (const Tensor& output : outputs) pointers.push_back(static_cast<T*>(output.data_ptr()));
    map(request, static_cast<const T*>(source.data_ptr()), batch, request.coefficients_at(pointers));
  };
  if (batch > 0) f64 ? run(double()) : run(float());
  return outputs;
}

// map(const FreqRequest&, const Coefficients<const T>&, int64_t batch, T* image); there is at least one coefficient.
template <typename Domain, typename Map>
Tensor run_synthesis(const std::vector<Tensor>& coefficients, const FreqRequest& request, Map map) {
  STD_TORCH_CHECK(!coefficients.empty(), "steerable_freq: no coefficients were given");
  const bool f64 = is_double(coefficients[0].scalar_type());
  const int64_t batch = coefficients[0].size(0);
  std::vector<Tensor> sources;
  for (int k = 0; k < request.coefficients(); ++k) {
    if (!request.wants(k)) continue;
    STD_TORCH_CHECK(sources.size() < coefficients.size(), "steerable_freq: coefficients are missing");
    const Tensor& given = coefficients[sources.size()];
    check_tensor(given, Domain::coefficient(request, k, batch), number(f64, Domain::is_complex(request, k)),
                 "a coefficient");
    sources.push_back(torch::stable::contiguous(given));
  }
  const Shape shape = Domain::image(request, batch);
  Tensor image = empty(sources[0], shape.sizes.data(), shape.dims, number(f64, Domain::image_is_complex));
  const auto run = [&]<typename T>(T) {
    std::vector<const T*> pointers;
    for (const Tensor& source : sources) pointers.push_back(static_cast<const T*>(source.data_ptr()));
    map(request, request.coefficients_at(pointers), batch, static_cast<T*>(image.data_ptr()));
  };
  if (batch > 0) f64 ? run(double()) : run(float());
  return image;
}

}  // namespace genimg::bindings
