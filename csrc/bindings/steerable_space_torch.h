// The operators of the spatial pyramid, for a device's Maps<T>: checks, shapes and allocation.
#pragma once

#include <vector>

#include "bindings/torch.h"
#include "steerable/space.h"
#include "steerable/space_filters.h"

namespace genimg::bindings {

inline steerable::SpacePyramid space_pyramid(int64_t height, int64_t width, int64_t order, int64_t levels,
                                             int64_t edge) {
  STD_TORCH_CHECK(steerable::is_spatial_order(static_cast<int>(order)), "order must be 0, 1, 3 or 5, got ", order);
  STD_TORCH_CHECK(levels >= 0 && levels <= steerable::kMaxSpaceLevels, "levels must be 0 to ",
                  steerable::kMaxSpaceLevels, ", got ", levels);
  STD_TORCH_CHECK(edge >= 0 && edge < steerable::kEdges, "edge must be 0 to ", steerable::kEdges - 1, ", got ", edge);
  const steerable::SpacePyramid pyramid = {height, width, static_cast<int>(levels), static_cast<int>(order),
                                           static_cast<steerable::Edge>(edge)};
  STD_TORCH_CHECK(steerable::fits(pyramid), "an image of ", height, " x ", width, " is too small for ", levels,
                  " levels of the filters of order ", order);
  return pyramid;
}

inline void check_position(const steerable::SpacePyramid& pyramid, int64_t position) {
  STD_TORCH_CHECK(position >= 0 && position < pyramid.coefficients(), "positions must be 0 to ",
                  pyramid.coefficients() - 1, ", got ", position);
}

struct LeadingShape {
  std::vector<int64_t> sizes;  // the last two are replaced
  int64_t batch = 1;

  explicit LeadingShape(const Tensor& x) : sizes(x.dim()) {
    STD_TORCH_CHECK(x.dim() >= 2, "expected at least 2 dimensions, got ", x.dim());
    for (int64_t d = 0; d < x.dim(); ++d) sizes[d] = x.size(d);
    for (int64_t d = 0; d + 2 < x.dim(); ++d) batch *= sizes[d];
  }

  Tensor make(const Tensor& like, int64_t height, int64_t width) {
    sizes[sizes.size() - 2] = height;
    sizes[sizes.size() - 1] = width;
    return empty(like, sizes.data(), static_cast<int64_t>(sizes.size()), like.scalar_type());
  }
};

// Calls run(T()) for the floating type of x.
template <typename Run>
void dispatch_real(const Tensor& x, Run&& run) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return run(float());
    case ScalarType::Double:
      return run(double());
    default:
      STD_TORCH_CHECK(false, "expected float32 or float64, got ", x.scalar_type());
  }
}

template <template <typename> class Maps>
std::vector<Tensor> space_analysis(const Tensor& image, const std::vector<int64_t>& positions, int64_t order,
                                   int64_t levels, int64_t edge, bool adjoint) {
  LeadingShape shape(image);
  const int64_t height = image.size(-2), width = image.size(-1);
  const steerable::SpacePyramid pyramid = space_pyramid(height, width, order, levels, edge);
  std::vector<Tensor> out;
  out.reserve(positions.size());
  for (const int64_t position : positions) {
    check_position(pyramid, position);
    const int level = pyramid.level_of(static_cast<int>(position));
    out.push_back(shape.make(image, steerable::level_length(height, level), steerable::level_length(width, level)));
  }
  const Tensor contiguous = torch::stable::contiguous(image);
  dispatch_real(image, [&](auto zero) {
    using T = decltype(zero);
    std::vector<T*> pointers(pyramid.coefficients(), nullptr);
    for (size_t i = 0; i < out.size(); ++i) pointers[positions[i]] = out[i].template mutable_data_ptr<T>();
    if (shape.batch > 0) Maps<T>::analysis(pyramid, contiguous, shape.batch, pointers.data(), adjoint);
  });
  return out;
}

template <template <typename> class Maps>
Tensor space_synthesis(const std::vector<Tensor>& coefficients, const std::vector<int64_t>& positions, int64_t height,
                       int64_t width, int64_t order, int64_t levels, int64_t edge, bool adjoint) {
  STD_TORCH_CHECK(!coefficients.empty() && coefficients.size() == positions.size(),
                  "expected as many coefficients as positions and at least one, got ", coefficients.size(), " and ",
                  positions.size());
  const steerable::SpacePyramid pyramid = space_pyramid(height, width, order, levels, edge);
  LeadingShape shape(coefficients[0]);
  Tensor image = shape.make(coefficients[0], height, width);
  std::vector<Tensor> contiguous;
  contiguous.reserve(coefficients.size());
  for (size_t i = 0; i < coefficients.size(); ++i) {
    check_position(pyramid, positions[i]);
    const Tensor& c = coefficients[i];
    const int level = pyramid.level_of(static_cast<int>(positions[i]));
    const int64_t h = steerable::level_length(height, level), w = steerable::level_length(width, level);
    STD_TORCH_CHECK(c.dim() == coefficients[0].dim() && c.scalar_type() == image.scalar_type() &&
                        c.numel() == shape.batch * h * w && c.size(-2) == h && c.size(-1) == w,
                    "coefficient ", positions[i], " must have the others' dtype and leading shape and end in ", h,
                    " x ", w);
    contiguous.push_back(torch::stable::contiguous(c));
  }
  dispatch_real(image, [&](auto zero) {
    using T = decltype(zero);
    std::vector<const T*> pointers(pyramid.coefficients(), nullptr);
    for (size_t i = 0; i < contiguous.size(); ++i) pointers[positions[i]] = contiguous[i].template const_data_ptr<T>();
    if (shape.batch > 0) Maps<T>::synthesis(pyramid, pointers.data(), shape.batch, image, adjoint);
  });
  return image;
}

}  // namespace genimg::bindings
