// The masks on CUDA: a thread has one frequency of the image's half spectrum, of a few images at once. It computes each
// mask there in registers, once for all its images. Analysis reads each coefficient of the image once and writes all
// bands of all levels; synthesis reads each coefficient of the bands once and writes those of the image.
#include "steerable/freq_cuda.h"

#include "steerable/masks.h"

namespace genimg::steerable {
namespace {

constexpr int kThreads = 256, kBlocks = 2;
constexpr int kImages = 4;  // whose coefficients a thread holds
constexpr int64_t kMaxGridY = 65535;

// Z is the type of the coefficients of the bands, const T where they are read.
template <typename T, typename Z>
struct Parameters {
  MaskParameters<T> masks;
  Coefficients<Z> coefficients;
  int64_t batch;
};

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using type = float2;
};
template <>
struct VectorOf<double> {
  using type = double2;
};

template <typename T>
__device__ __forceinline__ Complex<T> load_complex(const T* from) {
  const auto z = load_vector(reinterpret_cast<const typename VectorOf<T>::type*>(from));
  return {z.x, z.y};
}

template <typename T>
__device__ __forceinline__ void store_complex(T* to, Complex<T> z) {
  using Vector = typename VectorOf<T>::type;
  store_vector(reinterpret_cast<Vector*>(to), Vector{z.re, z.im});
}

// Where a thread stands: a frequency, and the place of its coefficient in an image's half spectrum.
struct Frequency {
  int64_t kx, ky, index, count;
  __device__ bool inside() const { return index < count; }
};

template <typename T>
__device__ __forceinline__ Frequency frequency_of_thread(const MaskParameters<T>& masks) {
  const int64_t columns = masks.width / 2 + 1;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  return {index % columns, signed_index(index / columns, masks.height), index, masks.height * columns};
}

// A frequency in one output of analysis, or input of synthesis.
template <typename Z, typename T>
struct Term {
  Z* first;        // its coefficient in the first image
  int64_t stride;  // to that in the next image, in Z
  T factor;        // of (-i)^quarters
  int quarters;
};

// Where a frequency is in the half spectra of a level.
struct Spectra {
  int64_t size;  // of one spectrum, in T
  int64_t offset;
  bool inside, at_nyquist;

  // In spectrum `index` of the `count` that there are for each image.
  template <typename Z, typename T>
  __device__ __forceinline__ Term<Z, T> term(Z* base, int index, int count, T factor, int quarters) const {
    return {base + index * size + offset, count * size, at_nyquist ? T(0) : factor, quarters};
  }
};

template <typename T>
__device__ __forceinline__ Spectra spectra_at(const MaskParameters<T>& masks, int level, const Frequency& f) {
  const int64_t height = level_length(masks.height, level, masks.oversampling);
  const int64_t width = level_length(masks.width, level, masks.oversampling);
  const Place place = place_of(f.kx, f.ky, height, width);
  return {2 * height * place.columns, 2 * (place.row * place.columns + f.kx), place.inside, place.at_nyquist};
}

template <typename Masks, typename T, typename Z, typename Visit>
__device__ __forceinline__ void for_each_band(const MasksAt<Masks, T>& at, const Coefficients<Z>& wanted, int level,
                                              const Spectra& spectra, Visit visit) {
  Z* const bands = wanted.bands[level];
  const uint32_t subset = wanted.band_subset[level];
  const T scale = T(wanted.band_scale[level]);
  const MaskParameters<T>& masks = at.p;
  const Radial<T> radial = radial_mask(at, level);
  const int orientations = masks.order + 1, parts = masks.analytic ? 2 : 1, count = parts * orientations;
  for (int b = 0; b < orientations; ++b) {
    if ((subset >> b & 1) == 0) continue;
    const Oriented<T> mask = oriented_mask(at, radial, b);
    visit(spectra.term(bands, parts * b, count, scale * mask.band, masks.order));
    if (masks.analytic) visit(spectra.term(bands, parts * b + 1, count, scale * mask.hilbert, masks.order + 1));
  }
}

// Calls visit(Term) for each wanted output of analysis, or input of synthesis, that has the frequency.
template <typename Masks, typename T, typename Z, typename Visit>
__device__ __forceinline__ void for_each_term(const MaskParameters<T>& masks, const Coefficients<Z>& wanted,
                                              const Frequency& f, Visit visit) {
  const auto at = MasksAt<Masks, T>::at(masks, f.kx, f.ky);
  if (wanted.highpass != nullptr) {
    Spectra image = spectra_at(masks, 0, f);
    image.at_nyquist = false;  // only the highpass residual has the Nyquist frequencies
    visit(image.term(wanted.highpass, 0, 1, T(wanted.highpass_scale) * highpass_mask(at), 0));
  }
  for (int level = 0; level <= masks.levels; ++level) {
    const Spectra spectra = spectra_at(masks, level, f);
    if (!spectra.inside) return;  // nor do later levels have it
    if (wanted.reconstructions[level] != nullptr) {
      const T mask = reconstruction_mask(at, level);
      visit(spectra.term(wanted.reconstructions[level], 0, 1, T(wanted.reconstruction_scale[level]) * mask, 0));
    }
    if (level < masks.levels && wanted.bands[level] != nullptr) for_each_band(at, wanted, level, spectra, visit);
    if (level == masks.levels && wanted.lowpass != nullptr)
      visit(spectra.term(wanted.lowpass, 0, 1, T(wanted.lowpass_scale) * lowpass_mask(at), 0));
  }
}

template <typename Masks, typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    analysis_masks_kernel(const __grid_constant__ Parameters<T, T> p, const T* __restrict__ spectrum) {
  const Frequency f = frequency_of_thread(p.masks);
  if (!f.inside()) return;
  const int64_t step = static_cast<int64_t>(gridDim.y) * kImages;
  for (int64_t image = static_cast<int64_t>(blockIdx.y) * kImages; image < p.batch; image += step) {
    Complex<T> z[kImages];
#pragma unroll
    for (int i = 0; i < kImages; ++i)
      if (image + i < p.batch) z[i] = load_complex(spectrum + 2 * ((image + i) * f.count + f.index));
    for_each_term<Masks>(p.masks, p.coefficients, f, [&](const Term<T, T>& term) {
#pragma unroll
      for (int i = 0; i < kImages; ++i) {
        if (image + i >= p.batch) break;
        const Complex<T> turned = rotate(z[i], term.quarters);
        store_complex<T>(term.first + (image + i) * term.stride, {term.factor * turned.re, term.factor * turned.im});
      }
    });
  }
}

template <typename Masks, typename T>
__global__ void __launch_bounds__(kThreads, kBlocks)
    synthesis_masks_kernel(const __grid_constant__ Parameters<T, const T> p, T* __restrict__ spectrum) {
  const Frequency f = frequency_of_thread(p.masks);
  if (!f.inside()) return;
  const int64_t step = static_cast<int64_t>(gridDim.y) * kImages;
  for (int64_t image = static_cast<int64_t>(blockIdx.y) * kImages; image < p.batch; image += step) {
    Complex<T> sum[kImages] = {};
    for_each_term<Masks>(p.masks, p.coefficients, f, [&](const Term<const T, T>& term) {
      if (term.factor == T(0)) return;
#pragma unroll
      for (int i = 0; i < kImages; ++i) {
        if (image + i >= p.batch) break;
        const Complex<T> turned = rotate(load_complex(term.first + (image + i) * term.stride), -term.quarters);
        sum[i].re += term.factor * turned.re;
        sum[i].im += term.factor * turned.im;
      }
    });
#pragma unroll
    for (int i = 0; i < kImages; ++i)
      if (image + i < p.batch) store_complex(spectrum + 2 * ((image + i) * f.count + f.index), sum[i]);
  }
}

// Starts one of the kernels on all frequencies of all images.
template <typename T, typename Z, typename S>
cudaError_t launch_on_spectrum(void (*kernel)(Parameters<T, Z>, S*), const Pyramid& pyramid, int64_t batch,
                               const Coefficients<Z>& coefficients, S* spectrum, cudaStream_t stream) {
  static_assert(sizeof(Parameters<T, Z>) <= 4000, "kernel parameters are limited to 4 KB");
  if (batch == 0) return cudaSuccess;
  const int64_t blocks = (pyramid.height * (pyramid.width / 2 + 1) + kThreads - 1) / kThreads;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  const int64_t groups = (batch + kImages - 1) / kImages;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(groups < kMaxGridY ? groups : kMaxGridY));
  return launch(grid, kThreads, 0, stream, kernel, Parameters<T, Z>{mask_parameters<T>(pyramid), coefficients, batch},
                spectrum);
}

}  // namespace

template <typename T>
cudaError_t launch_analysis_masks(const Pyramid& pyramid, const T* spectrum, int64_t batch, const Coefficients<T>& out,
                                  cudaStream_t stream) {
  const auto kernel = pyramid.masks == Masks::lut ? analysis_masks_kernel<Table, T> : analysis_masks_kernel<Exact, T>;
  return launch_on_spectrum<T>(kernel, pyramid, batch, out, spectrum, stream);
}

template <typename T>
cudaError_t launch_synthesis_masks(const Pyramid& pyramid, const Coefficients<const T>& in, int64_t batch, T* spectrum,
                                   cudaStream_t stream) {
  const auto kernel = pyramid.masks == Masks::lut ? synthesis_masks_kernel<Table, T> : synthesis_masks_kernel<Exact, T>;
  return launch_on_spectrum<T>(kernel, pyramid, batch, in, spectrum, stream);
}

template cudaError_t launch_analysis_masks(const Pyramid&, const float*, int64_t, const Coefficients<float>&,
                                           cudaStream_t);
template cudaError_t launch_analysis_masks(const Pyramid&, const double*, int64_t, const Coefficients<double>&,
                                           cudaStream_t);
template cudaError_t launch_synthesis_masks(const Pyramid&, const Coefficients<const float>&, int64_t, float*,
                                            cudaStream_t);
template cudaError_t launch_synthesis_masks(const Pyramid&, const Coefficients<const double>&, int64_t, double*,
                                            cudaStream_t);

}  // namespace genimg::steerable
