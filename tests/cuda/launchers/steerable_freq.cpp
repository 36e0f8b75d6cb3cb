// The launchers of freq_cuda.h with C names and plain arguments, for programs without torch. `pyramid` is height,
// width, levels, order, analytic, oversampling, lut; `coefficients` are the highpass residual, the bands of each level,
// the lowpass residual and the reconstructions, all of them wanted, with scale 1.
#include "steerable/freq_cuda.h"

using genimg::steerable::Coefficients;
using genimg::steerable::Masks;
using genimg::steerable::Pyramid;

namespace {

Pyramid pyramid_of(const int64_t* p, double twidth) {
  Pyramid pyramid;
  pyramid.height = p[0];
  pyramid.width = p[1];
  pyramid.levels = static_cast<int>(p[2]);
  pyramid.order = static_cast<int>(p[3]);
  pyramid.twidth = twidth;
  pyramid.analytic = p[4] != 0;
  pyramid.oversampling = static_cast<int>(p[5]);
  pyramid.masks = p[6] != 0 ? Masks::lut : Masks::exact;
  return pyramid;
}

template <typename T>
Coefficients<T> coefficients_of(const Pyramid& pyramid, T* const* pointers) {
  Coefficients<T> all;
  all.highpass = pointers[0];
  all.lowpass = pointers[pyramid.levels + 1];
  for (int level = 0; level < pyramid.levels; ++level) {
    all.bands[level] = pointers[level + 1];
    all.band_subset[level] = (1u << pyramid.orientations()) - 1;
    all.band_scale[level] = 1;
  }
  for (int level = 0; level <= pyramid.levels; ++level) {
    all.reconstructions[level] = pointers[pyramid.levels + 2 + level];
    all.reconstruction_scale[level] = 1;
  }
  return all;
}

template <typename T>
cudaError_t analysis(const int64_t* p, double twidth, const T* spectrum, int64_t batch, T* const* coefficients,
                     cudaStream_t stream) {
  const Pyramid pyramid = pyramid_of(p, twidth);
  return launch_analysis_masks(pyramid, spectrum, batch, coefficients_of(pyramid, coefficients), stream);
}

template <typename T>
cudaError_t synthesis(const int64_t* p, double twidth, const T* const* coefficients, int64_t batch, T* spectrum,
                      cudaStream_t stream) {
  const Pyramid pyramid = pyramid_of(p, twidth);
  return launch_synthesis_masks(pyramid, coefficients_of(pyramid, coefficients), batch, spectrum, stream);
}

}  // namespace

#define GENIMG_EXPORT extern "C" __attribute__((visibility("default"))) cudaError_t

GENIMG_EXPORT analysis_masks_f32(const int64_t* pyramid, double twidth, const float* spectrum, int64_t batch,
                                 float* const* coefficients, cudaStream_t stream) {
  return analysis(pyramid, twidth, spectrum, batch, coefficients, stream);
}
GENIMG_EXPORT analysis_masks_f64(const int64_t* pyramid, double twidth, const double* spectrum, int64_t batch,
                                 double* const* coefficients, cudaStream_t stream) {
  return analysis(pyramid, twidth, spectrum, batch, coefficients, stream);
}
GENIMG_EXPORT synthesis_masks_f32(const int64_t* pyramid, double twidth, const float* const* coefficients,
                                  int64_t batch, float* spectrum, cudaStream_t stream) {
  return synthesis(pyramid, twidth, coefficients, batch, spectrum, stream);
}
GENIMG_EXPORT synthesis_masks_f64(const int64_t* pyramid, double twidth, const double* const* coefficients,
                                  int64_t batch, double* spectrum, cudaStream_t stream) {
  return synthesis(pyramid, twidth, coefficients, batch, spectrum, stream);
}
