// Complex transforms of V signals at once: each lane of a vector is a signal of its own, so that no data moves between
// lanes. Only for files compiled once per instruction set (common/isa.h).
//
// y[k] = sum_i x[i] exp(-2 pi i i k / n), by passes in place (Cooley & Tukey 1965). Of the two networks,
//   decimation in frequency   takes x in order: WholePass::scatter for all its butterflies, then finish_parts
//   decimation in time        gives y in order: prepare_parts, then WholePass::gather for all its butterflies
// and each visits its other end in digit-reversed order, which costs nothing where every element is a cache line of its
// own. The caller runs the loop over the whole pass: the order of its butterflies is what suits the data around it.
// An inverse transform is the same with real and imaginary parts swapped at both ends.
#pragma once

#include "common/simd.h"
#include "steerable/freq_kernels.h"

namespace genimg::steerable {
inline namespace GENIMG_ISA {

#define GENIMG_INLINE_LAMBDA __attribute__((always_inline))

template <typename T>
struct ComplexVector {
  using V = typename Vector<T>::type;
  V re, im;
};

template <typename T>
GENIMG_HD ComplexVector<T> operator+(ComplexVector<T> a, ComplexVector<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename T>
GENIMG_HD ComplexVector<T> operator-(ComplexVector<T> a, ComplexVector<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <typename T>
GENIMG_HD ComplexVector<T> operator*(ComplexVector<T> a, T s) {
  return {a.re * s, a.im * s};
}
template <typename T>
GENIMG_HD ComplexVector<T> times_minus_i(ComplexVector<T> a) {
  return {a.im, -a.re};
}
template <typename T>
GENIMG_HD ComplexVector<T> times(ComplexVector<T> a, T re, T im) {
  return {a.re * re - a.im * im, a.re * im + a.im * re};
}
template <typename T>
GENIMG_HD ComplexVector<T> swapped(ComplexVector<T> a) {
  return {a.im, a.re};
}

template <typename T>
GENIMG_HD ComplexVector<T> load_complex(const T* p) {
  using V = typename Vector<T>::type;
  return {load<V>(p), load<V>(p + Vector<T>::lanes)};
}
template <typename T>
GENIMG_HD void store_complex(T* p, ComplexVector<T> a) {
  store(p, a.re);
  store(p + Vector<T>::lanes, a.im);
}

template <int R>
struct Radix {
  static constexpr int value = R;
};

template <typename T>
GENIMG_HD void butterfly(Radix<2>, ComplexVector<T>* x) {
  const ComplexVector<T> a = x[0], b = x[1];
  x[0] = a + b;
  x[1] = a - b;
}

template <typename T>
GENIMG_HD void butterfly(Radix<3>, ComplexVector<T>* x) {
  const ComplexVector<T> sum = x[1] + x[2], middle = x[0] - sum * T(0.5);
  const ComplexVector<T> turn = times_minus_i(x[1] - x[2]) * T(0.86602540378443864676);
  x[0] = x[0] + sum;
  x[1] = middle + turn;
  x[2] = middle - turn;
}

template <typename T>
GENIMG_HD void butterfly(Radix<4>, ComplexVector<T>* x) {
  const ComplexVector<T> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = times_minus_i(x[1] - x[3]);
  x[0] = a + c;
  x[1] = b + d;
  x[2] = a - c;
  x[3] = b - d;
}

template <typename T>
GENIMG_HD void butterfly(Radix<5>, ComplexVector<T>* x) {
  constexpr T c1 = T(0.30901699437494742410), c2 = T(-0.80901699437494742410);
  constexpr T s1 = T(0.95105651629515357212), s2 = T(0.58778525229247312917);
  const ComplexVector<T> a = x[1] + x[4], b = x[2] + x[3];
  const ComplexVector<T> c = times_minus_i(x[1] - x[4]), d = times_minus_i(x[2] - x[3]);
  const ComplexVector<T> e = x[0] + a * c1 + b * c2, f = x[0] + a * c2 + b * c1;
  const ComplexVector<T> g = c * s1 + d * s2, h = c * s2 - d * s1;
  x[0] = x[0] + a + b;
  x[1] = e + g;
  x[2] = f + h;
  x[3] = f - h;
  x[4] = e - g;
}

template <typename T>
GENIMG_HD void butterfly(Radix<8>, ComplexVector<T>* x) {
  constexpr T h = T(0.70710678118654752440);
  ComplexVector<T> even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
  butterfly(Radix<4>(), even);
  butterfly(Radix<4>(), odd);
  odd[1] = ComplexVector<T>{odd[1].re + odd[1].im, odd[1].im - odd[1].re} * h;
  odd[2] = times_minus_i(odd[2]);
  odd[3] = ComplexVector<T>{odd[3].im - odd[3].re, -odd[3].re - odd[3].im} * h;
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    x[k] = even[k] + odd[k];
    x[k + 4] = even[k] - odd[k];
  }
}

template <typename T>
GENIMG_HD void butterfly(Radix<1>, ComplexVector<T>*) {}

template <typename Call>
GENIMG_HD void with_radix(int radix, Call call) {
  switch (radix) {
    case 8:
      return call(Radix<8>());
    case 5:
      return call(Radix<5>());
    case 4:
      return call(Radix<4>());
    case 3:
      return call(Radix<3>());
    case 2:
      return call(Radix<2>());
    default:
      return call(Radix<1>());
  }
}

enum class Twiddle { none, before, after };

// One butterfly on x[0 .. R-1], with the twiddle factors of its position.
template <typename T, Twiddle twiddle, int R>
GENIMG_HD void turn(Radix<R> radix, const T* factors, ComplexVector<T>* x) {
  if (twiddle == Twiddle::before) {
#pragma GCC unroll 8
    for (int q = 1; q < R; ++q) x[q] = times(x[q], factors[2 * q - 2], factors[2 * q - 1]);
  }
  butterfly(radix, x);
  if (twiddle == Twiddle::after) {
#pragma GCC unroll 8
    for (int q = 1; q < R; ++q) x[q] = times(x[q], factors[2 * q - 2], factors[2 * q - 1]);
  }
}

// A pass in place on n consecutive elements, in groups of `length` = R * stride.
template <typename T, Twiddle twiddle>
static void pass_in_place(int radix, T* work, int64_t n, int64_t length, const T* factors) {
  constexpr int step = 2 * Vector<T>::lanes;
  with_radix(radix, [&](auto r) GENIMG_INLINE_LAMBDA {
    constexpr int R = r.value;
    const int64_t stride = length / R * step;
    for (T* group = work; group < work + n * step; group += length * step) {
      const T* w = factors;
      for (T* element = group; element < group + stride; element += step, w += 2 * (R - 1)) {
        ComplexVector<T> x[R];
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q) x[q] = load_complex(element + q * stride);
        turn<T, twiddle>(r, w, x);
#pragma GCC unroll 8
        for (int q = 0; q < R; ++q) store_complex(element + q * stride, x[q]);
      }
    }
  });
}

// The pass of radix[0], which joins or parts the whole length: butterfly j has the elements j + q * part.
template <typename T, int R>
struct WholePass {
  static constexpr int radix = R;
  int64_t part;
  const T* factors;
  T* work;

  WholePass(const FftPlan<T>& plan, T* memory) : part(plan.n / R), factors(plan.twiddle[0]), work(memory) {}

  // As the first pass: from x to work.
  GENIMG_INLINE_LAMBDA void scatter(int64_t j, ComplexVector<T>* x) const {
    constexpr int step = 2 * Vector<T>::lanes;
    turn<T, Twiddle::after>(Radix<R>(), factors + j * 2 * (R - 1), x);
#pragma GCC unroll 8
    for (int q = 0; q < R; ++q) store_complex(work + (j + q * part) * step, x[q]);
  }
  // As the last pass: from work to x.
  GENIMG_INLINE_LAMBDA void gather(int64_t j, ComplexVector<T>* x) const {
    constexpr int step = 2 * Vector<T>::lanes;
#pragma GCC unroll 8
    for (int q = 0; q < R; ++q) x[q] = load_complex(work + (j + q * part) * step);
    turn<T, Twiddle::before>(Radix<R>(), factors + j * 2 * (R - 1), x);
  }
};

// call(WholePass<T, R>)
template <typename T, typename Call>
GENIMG_HD void with_whole_pass(const FftPlan<T>& plan, T* work, Call call) {
  with_radix(plan.radix[0], [&](auto r) GENIMG_INLINE_LAMBDA { call(WholePass<T, r.value>(plan, work)); });
}

// The last pass: groups of radix elements from `own` to store(frequency, element).
template <typename T, typename Store>
GENIMG_HD void store_groups(int radix, const T* own, int64_t groups, const int32_t* frequency, int64_t jump,
                            Store store) {
  constexpr int step = 2 * Vector<T>::lanes;
  with_radix(radix, [&](auto r) GENIMG_INLINE_LAMBDA {
    constexpr int R = r.value;
    for (int64_t g = 0; g < groups; ++g) {
      ComplexVector<T> x[R];
#pragma GCC unroll 8
      for (int q = 0; q < R; ++q) x[q] = load_complex(own + (g * R + q) * step);
      butterfly(r, x);
#pragma GCC unroll 8
      for (int q = 0; q < R; ++q) store(frequency[g] + q * jump, x[q]);
    }
  });
}

// The same pass where it comes first: from load(frequency) to `own`.
template <typename T, typename Load>
GENIMG_HD void load_groups(int radix, T* own, int64_t groups, const int32_t* frequency, int64_t jump, Load load) {
  constexpr int step = 2 * Vector<T>::lanes;
  with_radix(radix, [&](auto r) GENIMG_INLINE_LAMBDA {
    constexpr int R = r.value;
    for (int64_t g = 0; g < groups; ++g) {
      ComplexVector<T> x[R];
#pragma GCC unroll 8
      for (int q = 0; q < R; ++q) x[q] = load(frequency[g] + q * jump);
      butterfly(r, x);
#pragma GCC unroll 8
      for (int q = 0; q < R; ++q) store_complex(own + (g * R + q) * step, x[q]);
    }
  });
}

// The passes between the whole one and the last one, on part p of the work.
template <typename T>
GENIMG_HD void middle_passes_after(const FftPlan<T>& plan, T* own, int64_t part) {
  int64_t length = part;
  for (int s = 1; s < plan.passes - 1; ++s) {
    pass_in_place<T, Twiddle::after>(plan.radix[s], own, part, length, plan.twiddle[s]);
    length /= plan.radix[s];
  }
}
template <typename T>
GENIMG_HD void middle_passes_before(const FftPlan<T>& plan, T* own, int64_t part) {
  int64_t length = plan.radix[plan.passes - 1];
  for (int s = plan.passes - 2; s > 0; --s) {
    length *= plan.radix[s];
    pass_in_place<T, Twiddle::before>(plan.radix[s], own, part, length, plan.twiddle[s]);
  }
}

// Transforms chirp.n elements where they are; `buffer` has chirp.plan->n vectors. The last pass of the transform and
// the first of its inverse join the same elements, so that the product with the chirp's spectrum is made between them.
template <typename T>
static void transform_by_chirp(const ChirpPlan<T>& chirp, T* elements, T* buffer) {
  constexpr int step = 2 * Vector<T>::lanes;
  const FftPlan<T>& plan = *chirp.plan;
  const int last = plan.passes - 1;
  const int64_t part = plan.n / plan.radix[0], groups = part / plan.radix[last], jump = plan.n / plan.radix[last];
  for (int p = 0; p < plan.radix[0]; ++p) {
    load_groups(plan.radix[last], buffer + p * part * step, groups, plan.frequency + p * groups, jump,
                [&](int64_t i) GENIMG_INLINE_LAMBDA {
                  if (i >= chirp.n) return ComplexVector<T>{};
                  return times(load_complex(elements + i * step), chirp.chirp[2 * i], chirp.chirp[2 * i + 1]);
                });
    middle_passes_before(plan, buffer + p * part * step, part);
  }
  with_whole_pass(plan, buffer, [&](auto pass) GENIMG_INLINE_LAMBDA {
    constexpr int R = decltype(pass)::radix;
    for (int64_t j = 0; j < part; ++j) {
      ComplexVector<T> x[R];
      pass.gather(j, x);
#pragma GCC unroll 8
      for (int q = 0; q < R; ++q) {
        const T* const factor = chirp.spectrum + 2 * (j + q * part);
        x[q] = swapped(times(x[q], factor[0], factor[1]));
      }
      pass.scatter(j, x);
    }
  });
  for (int p = 0; p < plan.radix[0]; ++p) {
    middle_passes_after(plan, buffer + p * part * step, part);
    store_groups(plan.radix[last], buffer + p * part * step, groups, plan.frequency + p * groups, jump,
                 [&](int64_t k, ComplexVector<T> z) GENIMG_INLINE_LAMBDA {
                   if (k >= chirp.n) return;
                   store_complex(elements + k * step, times(swapped(z), chirp.chirp[2 * k], chirp.chirp[2 * k + 1]));
                 });
  }
}

// Where the chirp works: behind the work and the vectors staged by the kernels.
template <typename T>
GENIMG_HD T* chirp_buffer(const FftPlan<T>& plan, T* work) {
  constexpr int lanes = Vector<T>::lanes;
  return work + (plan.n + lanes - 1) / lanes * lanes * 4 * lanes;
}

// What follows the whole pass as the first one. Each of its radix[0] parts is a transform by itself, done to its end
// while it is in cache; store(k, y[k]).
template <typename T, typename Store>
GENIMG_HD void finish_parts(const FftPlan<T>& plan, T* work, Store store) {
  constexpr int step = 2 * Vector<T>::lanes;
  const int last = plan.passes - 1;
  const int64_t part = plan.n / plan.radix[0];
  if (last <= 0) {
    for (int64_t k = 0; k < plan.n; ++k) store(k, load_complex(work + k * step));
    return;
  }
  const int64_t radix = plan.radix[last], jump = plan.n / radix, groups = part / radix;
  for (int p = 0; p < plan.radix[0]; ++p) {
    T* const own = work + p * part * step;
    const int32_t* const frequency = plan.frequency + p * groups;
    middle_passes_after(plan, own, part);
    if (plan.chirp == nullptr) {
      store_groups(plan.radix[last], own, groups, frequency, jump, store);
      continue;
    }
    for (int64_t g = 0; g < groups; ++g) {
      T* const group = own + g * radix * step;
      transform_by_chirp(*plan.chirp, group, chirp_buffer(plan, work));
      for (int64_t q = 0; q < radix; ++q) store(frequency[g] + q * jump, load_complex(group + q * step));
    }
  }
}

// What precedes the whole pass as the last one, from load(i).
template <typename T, typename Load>
GENIMG_HD void prepare_parts(const FftPlan<T>& plan, T* work, Load load) {
  constexpr int step = 2 * Vector<T>::lanes;
  const int last = plan.passes - 1;
  const int64_t part = plan.n / plan.radix[0];
  if (last <= 0) {
    for (int64_t k = 0; k < plan.n; ++k) store_complex(work + k * step, load(k));
    return;
  }
  const int64_t radix = plan.radix[last], jump = plan.n / radix, groups = part / radix;
  for (int p = 0; p < plan.radix[0]; ++p) {
    T* const own = work + p * part * step;
    const int32_t* const frequency = plan.frequency + p * groups;
    if (plan.chirp == nullptr) {
      load_groups(plan.radix[last], own, groups, frequency, jump, load);
    } else {
      for (int64_t g = 0; g < groups; ++g) {
        T* const group = own + g * radix * step;
        for (int64_t q = 0; q < radix; ++q) store_complex(group + q * step, load(frequency[g] + q * jump));
        transform_by_chirp(*plan.chirp, group, chirp_buffer(plan, work));
      }
    }
    middle_passes_before(plan, own, part);
  }
}

}  // namespace GENIMG_ISA
}  // namespace genimg::steerable
