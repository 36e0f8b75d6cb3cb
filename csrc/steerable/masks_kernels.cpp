// The formulas of the masks over rows: plain loops, which the compiler turns into the vectors of this instruction set.
#include "steerable/masks_kernels.h"

namespace genimg::steerable::GENIMG_ISA {
namespace {

template <typename Masks, typename T>
GENIMG_HD MasksAt<Masks, T> masks_at(const MaskParameters<T>& p, const MaskRow<T>& row, int64_t i) {
  if constexpr (Masks::is_table) {
    return {p, {row.log_radius[i], row.angle[i]}, {row.opposite_log_radius[i], row.opposite_angle[i]}};
  } else {
    const Polar<Masks, T> here = {row.log_radius[i], row.cosine[i], row.sine[i]};
    return {p, here, here};
  }
}

// A loop over `overlap` inside the body keeps a loop from being vectorised: call(parameters) gets a copy in which it is
// constant where it can be.
template <typename T, typename Call>
GENIMG_HD void with_overlap(MaskParameters<T> p, Call call) {
  if (p.overlap != 1) return call(p);
  p.overlap = 1;
  call(p);
}

template <typename Masks, typename T>
void polar_row(const MaskParameters<T>& parameters, int64_t ky, const MaskRow<T>& row) {
  const MaskParameters<T> p = parameters;  // a copy cannot be what the loop writes
#pragma GCC ivdep
  for (int64_t i = 0; i < row.n; ++i) {
    const auto at = MasksAt<Masks, T>::at(p, i, ky);
    row.log_radius[i] = at.here.log_radius;
    if constexpr (Masks::is_table) {
      row.angle[i] = at.here.angle;
      row.opposite_log_radius[i] = at.opposite.log_radius;
      row.opposite_angle[i] = at.opposite.angle;
    } else {
      row.cosine[i] = at.here.cosine;
      row.sine[i] = at.here.sine;
    }
  }
}

template <typename Masks, typename T>
void highpass_row(const MaskParameters<T>& p, const MaskRow<T>& row) {
  T* __restrict__ mask = row.mask;
  for (int64_t i = 0; i < row.n; ++i) mask[i] = highpass_mask(masks_at<Masks>(p, row, i));
}

template <typename Masks, typename T>
void lowpass_row(const MaskParameters<T>& parameters, const MaskRow<T>& row) {
  with_overlap(parameters, [&row](const MaskParameters<T>& p) {
    T* __restrict__ mask = row.mask;
    for (int64_t i = 0; i < row.n; ++i) mask[i] = lowpass_mask(masks_at<Masks>(p, row, i));
  });
}

template <typename Masks, typename T>
void reconstruction_row(const MaskParameters<T>& parameters, int level, const MaskRow<T>& row) {
  with_overlap(parameters, [&row, level](const MaskParameters<T>& p) {
    T* __restrict__ mask = row.mask;
    for (int64_t i = 0; i < row.n; ++i) mask[i] = reconstruction_mask(masks_at<Masks>(p, row, i), level);
  });
}

template <typename Masks, typename T>
void radial_row(const MaskParameters<T>& parameters, int level, const MaskRow<T>& row) {
  with_overlap(parameters, [&row, level](const MaskParameters<T>& p) {
    T* __restrict__ here = row.radial;
    T* __restrict__ opposite = row.opposite_radial;
    for (int64_t i = 0; i < row.n; ++i) {
      const Radial<T> radial = radial_mask(masks_at<Masks>(p, row, i), level);
      here[i] = radial.here;
      if constexpr (Masks::is_table) opposite[i] = radial.opposite;
    }
  });
}

template <typename Masks, typename T>
void oriented_row(const MaskParameters<T>& parameters, int orientation, const MaskRow<T>& row) {
  const MaskParameters<T> p = parameters;  // as above
  T* __restrict__ mask = row.mask;
  T* __restrict__ hilbert = row.hilbert;
#pragma GCC ivdep
  for (int64_t i = 0; i < row.n; ++i) {
    const Radial<T> radial = {row.radial[i], Masks::is_table ? row.opposite_radial[i] : row.radial[i]};
    const Oriented<T> value = oriented_mask(masks_at<Masks>(p, row, i), radial, orientation);
    mask[i] = value.band;
    hilbert[i] = value.hilbert;
  }
}

template <bool add, int quarters, typename T>
GENIMG_HD void apply_quarters(const T* mask, T scale, const T* z, T* __restrict__ out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const T factor = scale * mask[i];
    const Complex<T> turned = rotate(Complex<T>{z[2 * i], z[2 * i + 1]}, quarters);
    out[2 * i] = add ? out[2 * i] + factor * turned.re : factor * turned.re;
    out[2 * i + 1] = add ? out[2 * i + 1] + factor * turned.im : factor * turned.im;
  }
}

template <bool add, typename T>
void apply_row(const T* mask, T scale, int quarters, const T* z, T* out, int64_t n) {
  // Two quarters are a change of sign.
  const T signed_scale = (quarters & 2) != 0 ? -scale : scale;
  if ((quarters & 1) != 0) return apply_quarters<add, 1>(mask, signed_scale, z, out, n);
  apply_quarters<add, 0>(mask, signed_scale, z, out, n);
}

template <typename Masks, typename T>
constexpr MaskFunctions<T> functions() {
  return {&polar_row<Masks, T>,          &highpass_row<Masks, T>, &lowpass_row<Masks, T>,
          &reconstruction_row<Masks, T>, &radial_row<Masks, T>,   &oriented_row<Masks, T>};
}

template <typename T>
constexpr MaskKernels<T> kernels() {
  return {functions<Exact, T>(), functions<Table, T>(), &apply_row<false, T>, &apply_row<true, T>};
}

}  // namespace

extern const AllMaskKernels mask_kernels = {kernels<float>(), kernels<double>()};

}  // namespace genimg::steerable::GENIMG_ISA
