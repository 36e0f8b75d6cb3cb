// The operators of the statistics on any device: checks, dtypes and outputs stand here; Kernels is what differs, the
// CPU's (statistics_torch.cpp) or CUDA's (statistics_torch_cuda.cpp).
#pragma once

#include <optional>
#include <tuple>

#include "bindings/torch.h"
#include "statistics/statistics.h"

namespace genimg::bindings {

// Kernels has, as static members, the functions of statistics.h, with a tensor of the device in the executor's place.
// They are not called for no planes.
template <typename Kernels>
class StatisticsOperators {
 public:
  static void implement(torch::stable::detail::StableLibrary& m) {
    m.impl("statistics_correlation", TORCH_BOX(&correlation));
    m.impl("statistics_convolution", TORCH_BOX(&convolution));
    m.impl("statistics_power_sums", TORCH_BOX(&power_sums));
    m.impl("statistics_polynomial", TORCH_BOX(&polynomial));
    m.impl("statistics_phases", TORCH_BOX(&phases));
    m.impl("statistics_phases_gradient", TORCH_BOX(&phases_gradient));
  }

 private:
  using Pair = std::tuple<Tensor, Tensor>;
  using Planes = statistics::Planes;

  template <typename T>
  static const T* data_of(const Tensor& x) {
    return static_cast<const T*>(x.const_data_ptr());
  }
  template <typename T>
  static const T* data_of(const std::optional<Tensor>& x) {
    return x.has_value() ? data_of<T>(*x) : nullptr;
  }
  template <typename T>
  static T* output_of(const Tensor& x) {
    return static_cast<T*>(x.mutable_data_ptr());
  }

  static Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : torch::stable::contiguous(x); }
  static std::optional<Tensor> contiguous(const std::optional<Tensor>& x) {
    if (!x.has_value()) return std::nullopt;
    return contiguous(*x);
  }

  // function(T()) for real tensors of T and for complex ones.
  template <typename Function>
  static auto dispatch(const Tensor& x, bool is_complex, const char* name, Function function) {
    const ScalarType dtype = x.scalar_type();
    if (dtype == (is_complex ? ScalarType::ComplexFloat : ScalarType::Float)) return function(float());
    STD_TORCH_CHECK(dtype == (is_complex ? ScalarType::ComplexDouble : ScalarType::Double), name, ": no kernel for ",
                    dtype);
    return function(double());
  }

  static Planes planes_of(const Tensor& x, const char* name) {
    STD_TORCH_CHECK(x.dim() == 3 && x.size(1) > 0 && x.size(2) > 0, name, ": expected planes (n, h, w) with pixels");
    return {x.size(0), x.size(1), x.size(2)};
  }

  static bool is_like(const Tensor& x, const Tensor& other) {
    if (x.dim() != other.dim() || x.scalar_type() != other.scalar_type()) return false;
    for (int64_t d = 0; d < x.dim(); ++d)
      if (x.size(d) != other.size(d)) return false;
    return true;
  }

  // Of two tensors of one shape.
  static bool is_same(const Tensor& x, const Tensor& other) {
    bool same = x.const_data_ptr() == other.const_data_ptr();
    for (int64_t d = 0; d < x.dim(); ++d) same = same && x.stride(d) == other.stride(d);
    return same;
  }

  static Tensor empty_like(const Tensor& x) {
    int64_t sizes[4];
    for (int64_t d = 0; d < x.dim(); ++d) sizes[d] = x.size(d);
    return empty(x, sizes, x.dim(), x.scalar_type());
  }

  static void check_radius(int64_t radius) {
    STD_TORCH_CHECK(0 <= radius && radius <= statistics::kMaxRadius, "statistics: radius must be 0 .. ",
                    statistics::kMaxRadius, ", got ", radius);
  }
  static void check_count(int64_t count) {
    STD_TORCH_CHECK(1 <= count && count <= statistics::kMaxPowers, "statistics: the count of powers must be 1 .. ",
                    statistics::kMaxPowers, ", got ", count);
  }
  static void check_weight(const Tensor& x, const std::optional<Tensor>& weight) {
    STD_TORCH_CHECK(!weight.has_value() || is_like(x, *weight),
                    "statistics: weight must be of the shape and dtype of x");
  }

  static Tensor correlation(const Tensor& a, const Tensor& b, int64_t radius) {
    const char* const name = "statistics_correlation";
    const Planes planes = planes_of(a, name);
    STD_TORCH_CHECK(is_like(a, b), name, ": a and b must be of one shape and dtype");
    check_radius(radius);
    const int64_t sizes[] = {planes.count, 2 * radius + 1, 2 * radius + 1};
    const Tensor out = empty(a, sizes, 3, ScalarType::Double);
    const Tensor first = contiguous(a), second = is_same(a, b) ? first : contiguous(b);
    dispatch(a, false, name, [&]<typename T>(T) {
      if (planes.count > 0)
        Kernels::correlation(data_of<T>(first), data_of<T>(second), planes, static_cast<int>(radius),
                             output_of<double>(out), a);
    });
    return out;
  }

  static Tensor convolution(const Tensor& x, const Tensor& taps) {
    const char* const name = "statistics_convolution";
    const Planes planes = planes_of(x, name);
    STD_TORCH_CHECK(taps.dim() == 3 && taps.scalar_type() == ScalarType::Double && taps.size(0) == planes.count &&
                        taps.size(1) == taps.size(2) && taps.size(1) % 2 == 1,
                    name, ": taps must be float64 (n, 2 radius + 1, 2 radius + 1)");
    const int64_t radius = taps.size(1) / 2;
    check_radius(radius);
    const Tensor out = empty_like(x), from = contiguous(x), weights = contiguous(taps);
    dispatch(x, false, name, [&]<typename T>(T) {
      if (planes.count > 0)
        Kernels::convolution(data_of<T>(from), data_of<double>(weights), planes, static_cast<int>(radius),
                             output_of<T>(out), x);
    });
    return out;
  }

  static Tensor power_sums(const Tensor& x, const std::optional<Tensor>& weight, int64_t count) {
    const char* const name = "statistics_power_sums";
    const Planes planes = planes_of(x, name);
    check_weight(x, weight);
    check_count(count);
    const int64_t sizes[] = {planes.count, count};
    const Tensor out = empty(x, sizes, 2, ScalarType::Double), from = contiguous(x);
    const std::optional<Tensor> factors = contiguous(weight);
    dispatch(x, false, name, [&]<typename T>(T) {
      if (planes.count > 0)
        Kernels::power_sums(data_of<T>(from), data_of<T>(factors), planes, static_cast<int>(count),
                            output_of<double>(out), x);
    });
    return out;
  }

  static Tensor polynomial(const Tensor& x, const std::optional<Tensor>& weight, const Tensor& coefficients) {
    const char* const name = "statistics_polynomial";
    const Planes planes = planes_of(x, name);
    check_weight(x, weight);
    STD_TORCH_CHECK(coefficients.dim() == 2 && coefficients.scalar_type() == ScalarType::Double &&
                        coefficients.size(0) == planes.count,
                    name, ": coefficients must be float64 (n, count)");
    const int64_t count = coefficients.size(1);
    check_count(count);
    const Tensor out = empty_like(x), from = contiguous(x), factors = contiguous(coefficients);
    const std::optional<Tensor> weights = contiguous(weight);
    dispatch(x, false, name, [&]<typename T>(T) {
      if (planes.count > 0)
        Kernels::polynomial(data_of<T>(from), data_of<T>(weights), data_of<double>(factors), planes,
                            static_cast<int>(count), output_of<T>(out), x);
    });
    return out;
  }

  static void check_bands(const Tensor& bands, const std::optional<Tensor>& parents, const char* name) {
    STD_TORCH_CHECK(bands.dim() == 4 && bands.size(1) > 0 && bands.size(2) > 0 && bands.size(3) > 0, name,
                    ": expected subbands (g, K, h, w) with pixels");
    STD_TORCH_CHECK(!parents.has_value() || is_like(bands, *parents), name,
                    ": parents must be of the shape and dtype of the bands");
  }

  template <typename T>
  static statistics::Subbands<T> subbands_of(const Tensor& bands, const std::optional<Tensor>& parents) {
    return {data_of<T>(bands), data_of<T>(parents), bands.size(0), static_cast<int>(bands.size(1)),
            bands.size(2) * bands.size(3)};
  }

  static Pair phases(const Tensor& bands, const std::optional<Tensor>& parents) {
    const char* const name = "statistics_phases";
    check_bands(bands, parents, name);
    const Tensor z = contiguous(bands);
    const std::optional<Tensor> coarser = contiguous(parents);
    return dispatch(bands, true, name, [&]<typename T>(T) -> Pair {
      const ScalarType dtype = sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float;
      int64_t sizes[] = {bands.size(0), bands.size(1) * (parents.has_value() ? 2 : 1), bands.size(2), bands.size(3)};
      const Tensor magnitudes = empty(bands, sizes, 4, dtype);
      sizes[1] = bands.size(1) * (parents.has_value() ? 3 : 1);
      const Tensor reals = empty(bands, sizes, 4, dtype);
      if (bands.size(0) > 0)
        Kernels::magnitudes_and_phases(subbands_of<T>(z, coarser), output_of<T>(magnitudes), output_of<T>(reals),
                                       bands);
      return {magnitudes, reals};
    });
  }

  static Pair phases_gradient(const Tensor& bands, const std::optional<Tensor>& parents, const Tensor& magnitudes,
                              const Tensor& reals) {
    const char* const name = "statistics_phases_gradient";
    check_bands(bands, parents, name);
    const Tensor z = contiguous(bands), of_magnitudes = contiguous(magnitudes), of_reals = contiguous(reals);
    const std::optional<Tensor> coarser = contiguous(parents);
    return dispatch(bands, true, name, [&]<typename T>(T) -> Pair {
      const auto is_gradient = [&](const Tensor& x, int64_t factor) {
        return x.dim() == 4 && x.scalar_type() == (sizeof(T) == 8 ? ScalarType::Double : ScalarType::Float) &&
               x.size(0) == bands.size(0) && x.size(1) == factor * bands.size(1) && x.size(2) == bands.size(2) &&
               x.size(3) == bands.size(3);
      };
      STD_TORCH_CHECK(
          is_gradient(magnitudes, parents.has_value() ? 2 : 1) && is_gradient(reals, parents.has_value() ? 3 : 1), name,
          ": the gradients must be of the shapes and dtype of statistics_phases' results");
      const int64_t none[] = {0};
      const Tensor to_bands = empty_like(bands);
      const Tensor to_parents = parents.has_value() ? empty_like(*parents) : empty(bands, none, 1, bands.scalar_type());
      if (bands.size(0) > 0)
        Kernels::magnitudes_and_phases_gradient(subbands_of<T>(z, coarser), data_of<T>(of_magnitudes),
                                                data_of<T>(of_reals), output_of<T>(to_bands),
                                                parents.has_value() ? output_of<T>(to_parents) : nullptr, bands);
      return {to_bands, to_parents};
    });
  }
};

}  // namespace genimg::bindings
