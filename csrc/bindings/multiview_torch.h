// The multi-view operators on any device: checks, dtypes and outputs stand here; Kernels is what differs, the CPU's
// (multiview_torch.cpp) or CUDA's (multiview_torch_cuda.cpp).
#pragma once

#include <limits>
#include <optional>
#include <tuple>

#include "bindings/multiview.h"
#include "bindings/torch.h"

namespace genimg::bindings {

// Kernels has, as static members, the functions of multiview.h with a tensor of the device in the place of the
// executor.
template <typename Kernels>
class MultiviewOperators {
 public:
  static void implement(torch::stable::detail::StableLibrary& m) {
    m.impl("multiview_apply", TORCH_BOX(&apply));
    m.impl("multiview_apply_out", TORCH_BOX(&apply_out));
    m.impl("multiview_reduce", TORCH_BOX(&reduce));
    m.impl("multiview_reduce_out", TORCH_BOX(&reduce_out));
    m.impl("multiview_step", TORCH_BOX(&step));
    m.impl("multiview_step_out", TORCH_BOX(&step_out));
  }

 private:
  using Pair = std::tuple<Tensor, Tensor>;

  // What the averaging of a stack needs.
  struct Averaging {
    const Tensor &rows, &tables, &weights;
    bool guided;
  };

  static void check(bool holds, const char* what) { STD_TORCH_CHECK(holds, "multiview: ", what); }

  static multiview::Shape shape_of(const Tensor& x) {
    check(x.dim() == 4 && x.is_contiguous(), "pictures must be contiguous, of 4 dimensions");
    check(x.size(2) * x.size(3) <= std::numeric_limits<int32_t>::max(), "pictures must have less than 2^31 pixels");
    return {x.size(0), x.size(1), static_cast<int32_t>(x.size(2)), static_cast<int32_t>(x.size(3))};
  }

  static multiview::Views views_of(const Tensor& rows, const Tensor& tables) {
    check(rows.dim() == 2 && rows.size(1) == kRowSize && rows.is_contiguous() && rows.is_cpu() &&
              rows.scalar_type() == ScalarType::Long && rows.size(0) <= multiview::kMaxViews,
          "rows must be a plan of at most 64 views");
    check(tables.scalar_type() == ScalarType::Int && tables.is_contiguous(), "tables must be contiguous int32");
    return bindings::views_of(static_cast<const int64_t*>(rows.const_data_ptr()), rows.size(0),
                              static_cast<const int32_t*>(tables.const_data_ptr()));
  }

  static const double* numbers_of(const Tensor& x, int64_t count) {
    check(x.is_cpu() && x.is_contiguous() && x.scalar_type() == ScalarType::Double && x.numel() == count,
          "weights, factors and coefficients must be float64 on the CPU, as many as there are views");
    return static_cast<const double*>(x.const_data_ptr());
  }

  static void check_output(const Tensor& out, const Tensor& like, int64_t images, int64_t channels) {
    check(out.dim() == 4 && out.is_contiguous() && out.scalar_type() == like.scalar_type() && out.size(0) == images &&
              out.size(1) == channels && out.size(2) == like.size(2) && out.size(3) == like.size(3),
          "out must be contiguous, of the dtype and the shape of the result");
  }

  static Tensor new_pictures(const Tensor& like, int64_t images, int64_t channels) {
    const int64_t sizes[] = {images, channels, like.size(2), like.size(3)};
    return empty(like, sizes, 4, like.scalar_type());
  }

  // function(T()) for the dtype of x.
  template <typename Function>
  static void dispatch(const Tensor& x, Function function) {
    switch (x.scalar_type()) {
      case ScalarType::Float:
        return function(float());
      case ScalarType::Double:
        return function(double());
      case ScalarType::Half:
        return function(Half());
      case ScalarType::BFloat16:
        return function(BFloat());
      default:
        STD_TORCH_CHECK(false, "multiview: no kernel for ", x.scalar_type());
    }
  }

  template <typename T>
  static const T* data_of(const Tensor& x) {
    return static_cast<const T*>(x.const_data_ptr());
  }
  template <typename T>
  static T* mutable_data_of(const Tensor& x) {
    return static_cast<T*>(x.mutable_data_ptr());
  }

  static void apply_out(const Tensor& x, const Tensor& rows, const Tensor& tables, int64_t copies,
                        const std::optional<Tensor>& factors, const Tensor& out) {
    const multiview::Shape shape = shape_of(x);
    const multiview::Views views = views_of(rows, tables);
    check_output(out, x, copies * views.count * shape.batch, shape.channels);
    const double* const numbers = factors.has_value() ? numbers_of(*factors, copies * views.count) : nullptr;
    dispatch(x, [&]<typename T>(T) {
      Kernels::apply(data_of<T>(x), shape, views, static_cast<int>(copies), numbers, mutable_data_of<T>(out), x);
    });
  }

  static Tensor apply(const Tensor& x, const Tensor& rows, const Tensor& tables, int64_t copies,
                      const std::optional<Tensor>& factors) {
    const Tensor out = new_pictures(x, copies * rows.size(0) * x.size(0), x.size(1));
    apply_out(x, rows, tables, copies, factors, out);
    return out;
  }

  // The shape of the pictures that a stack is of.
  static multiview::Shape averaged_shape(const Tensor& prediction, int64_t channels, const Averaging& averaging) {
    multiview::Shape shape = shape_of(prediction);
    const int64_t images = averaging.rows.size(0) * (averaging.guided ? 2 : 1);
    check(images > 0 && shape.batch % images == 0, "the stack must hold each image for each view");
    check(shape.channels == channels || shape.channels == 2 * channels,
          "the stack must have the picture's channels, or twice as many");
    shape.batch /= images;
    shape.channels = channels;
    return shape;
  }

  template <typename T>
  static multiview::Prediction<T> prediction_of(const Tensor& prediction, const multiview::Shape& shape,
                                                const Averaging& averaging) {
    const int64_t count = averaging.rows.size(0);
    return bindings::prediction_of(data_of<T>(prediction), averaging.guided, prediction.size(1) > shape.channels,
                                   numbers_of(averaging.weights, 3 * count), count);
  }

  static void reduce_to(const Tensor& prediction, const Averaging& averaging, const Tensor& noise,
                        const Tensor* variance) {
    const multiview::Shape shape = averaged_shape(prediction, noise.size(1), averaging);
    const multiview::Views inverse = views_of(averaging.rows, averaging.tables);
    check_output(noise, prediction, shape.batch, shape.channels);
    if (variance != nullptr) check_output(*variance, prediction, shape.batch, shape.channels);
    check(variance == nullptr || prediction.size(1) > shape.channels, "the stack holds no variance");
    dispatch(prediction, [&]<typename T>(T) {
      Kernels::reduce(prediction_of<T>(prediction, shape, averaging), shape, inverse, mutable_data_of<T>(noise),
                      variance == nullptr ? nullptr : mutable_data_of<T>(*variance), prediction);
    });
  }

  static void reduce_out(const Tensor& prediction, const Tensor& rows, const Tensor& tables, const Tensor& weights,
                         bool guided, const Tensor& noise, const std::optional<Tensor>& variance) {
    reduce_to(prediction, {rows, tables, weights, guided}, noise, variance.has_value() ? &*variance : nullptr);
  }

  static Pair reduce(const Tensor& prediction, const Tensor& rows, const Tensor& tables, const Tensor& weights,
                     bool guided, int64_t channels) {
    const Averaging averaging{rows, tables, weights, guided};
    const multiview::Shape shape = averaged_shape(prediction, channels, averaging);
    const bool has_variance = prediction.size(1) > channels;
    const Tensor noise = new_pictures(prediction, shape.batch, channels);
    const Tensor variance = new_pictures(prediction, has_variance ? shape.batch : 0, channels);
    reduce_to(prediction, averaging, noise, has_variance ? &variance : nullptr);
    return {noise, variance};
  }

  static void step_out(const Tensor& x, const Tensor& prediction, const std::optional<Tensor>& noise,
                       const Tensor& rows, const Tensor& tables, const Tensor& weights, bool guided,
                       const Tensor& coefficients, int64_t average, const Tensor& out) {
    const Averaging averaging{rows, tables, weights, guided};
    const multiview::Shape shape = averaged_shape(prediction, x.size(1), averaging);
    const multiview::Views inverse = views_of(rows, tables);
    shape_of(x);
    check_output(x, prediction, shape.batch, shape.channels);
    check_output(out, prediction, shape.batch, shape.channels);
    if (noise.has_value()) check_output(*noise, prediction, shape.batch, shape.channels);
    const multiview::Sampling sampling = sampling_of(numbers_of(coefficients, kCoefficients), average);
    dispatch(x, [&]<typename T>(T) {
      Kernels::step(data_of<T>(x), prediction_of<T>(prediction, shape, averaging), shape, inverse, sampling,
                    noise.has_value() ? data_of<T>(*noise) : nullptr, mutable_data_of<T>(out), x);
    });
  }

  static Tensor step(const Tensor& x, const Tensor& prediction, const std::optional<Tensor>& noise, const Tensor& rows,
                     const Tensor& tables, const Tensor& weights, bool guided, const Tensor& coefficients,
                     int64_t average) {
    const Tensor out = new_pictures(x, x.size(0), x.size(1));
    step_out(x, prediction, noise, rows, tables, weights, guided, coefficients, average, out);
    return out;
  }
};

}  // namespace genimg::bindings
