// Complex transforms of V signals at once: each lane of a vector is a signal of its own, so that no data moves between
// lanes. Only for files compiled once per instruction set (common/isa.h).
//
// Both transforms compute y[k] = sum_i x[i] exp(-2 pi i i k / n). They take their input from load(i) and hand their
// output to store(k, y), each index once; the first pass loads and the last stores, and all between happens in place in
// `work`.
//   transform_in_order   loads in the order of the first pass' butterflies (i, i + n/r, ...), stores in digit-reversed
//   order transform_out_order  the transposed network: loads in digit-reversed order, stores in the order of
//   butterflies
// An inverse transform is the same with real and imaginary parts swapped at load and store.
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

// `count` butterflies; the j-th takes its elements from load(j, q) and gives them to store(j, q, x), q = 0 .. R-1.
template <typename T, Twiddle twiddle, int R, typename Load, typename Store>
GENIMG_HD void pass(Radix<R> radix, int64_t count, const T* factors, Load load, Store store) {
  for (int64_t j = 0; j < count; ++j) {
    ComplexVector<T> x[R];
    const T* w = factors + j * 2 * (R - 1);
#pragma GCC unroll 8
    for (int q = 0; q < R; ++q) {
      x[q] = load(j, q);
      if (twiddle == Twiddle::before && q > 0) x[q] = times(x[q], w[2 * q - 2], w[2 * q - 1]);
    }
    butterfly(radix, x);
#pragma GCC unroll 8
    for (int q = 0; q < R; ++q) {
      if (twiddle == Twiddle::after && q > 0) x[q] = times(x[q], w[2 * q - 2], w[2 * q - 1]);
      store(j, q, x[q]);
    }
  }
}

// A pass in place on n consecutive elements, in groups of `length` = R * stride.
template <typename T, Twiddle twiddle>
static void pass_in_place(int radix, T* work, int64_t n, int64_t length, const T* factors) {
  constexpr int step = 2 * Vector<T>::lanes;
  with_radix(radix, [&](auto r) GENIMG_INLINE_LAMBDA {
    const int64_t stride = length / r.value;
    for (T* group = work; group < work + n * step; group += length * step)
      pass<T, twiddle>(
          r, stride, factors,
          [=](int64_t j, int q) GENIMG_INLINE_LAMBDA { return load_complex(group + (j + q * stride) * step); },
          [=](int64_t j, int q, ComplexVector<T> x)
              GENIMG_INLINE_LAMBDA { store_complex(group + (j + q * stride) * step, x); });
  });
}

template <typename T, typename Load, typename Store>
GENIMG_HD void transform_of_one_pass(const FftPlan<T>& plan, Load load, Store store) {
  with_radix(plan.radix[0], [&](auto r) GENIMG_INLINE_LAMBDA {
    pass<T, Twiddle::none>(
        r, 1, plan.twiddle[0], [&](int64_t, int q) GENIMG_INLINE_LAMBDA { return load(q); },
        [&](int64_t, int q, ComplexVector<T> x) GENIMG_INLINE_LAMBDA { store(q, x); });
  });
}

// After the first pass each of its radix[0] parts is a transform by itself, done to its end while it is in cache.
template <typename T, typename Load, typename Store>
GENIMG_HD void transform_in_order(const FftPlan<T>& plan, T* work, Load load, Store store) {
  constexpr int step = 2 * Vector<T>::lanes;
  const int last = plan.passes - 1;
  if (last <= 0) return transform_of_one_pass(plan, load, store);
  const int64_t part = plan.n / plan.radix[0];
  with_radix(plan.radix[0], [&](auto r) GENIMG_INLINE_LAMBDA {
    pass<T, Twiddle::after>(
        r, part, plan.twiddle[0], [&](int64_t j, int q) GENIMG_INLINE_LAMBDA { return load(j + q * part); },
        [&](int64_t j, int q, ComplexVector<T> x)
            GENIMG_INLINE_LAMBDA { store_complex(work + (j + q * part) * step, x); });
  });
  const int64_t jump = plan.n / plan.radix[last], groups = part / plan.radix[last];
  for (int p = 0; p < plan.radix[0]; ++p) {
    T* const own = work + p * part * step;
    int64_t length = part;
    for (int s = 1; s < last; ++s) {
      pass_in_place<T, Twiddle::after>(plan.radix[s], own, part, length, plan.twiddle[s]);
      length /= plan.radix[s];
    }
    const int32_t* frequency = plan.frequency + p * groups;
    with_radix(plan.radix[last], [&](auto r) GENIMG_INLINE_LAMBDA {
      pass<T, Twiddle::none>(
          r, groups, plan.twiddle[last],
          [&](int64_t g, int q) GENIMG_INLINE_LAMBDA { return load_complex(own + (g * r.value + q) * step); },
          [&](int64_t g, int q, ComplexVector<T> x) GENIMG_INLINE_LAMBDA { store(frequency[g] + q * jump, x); });
    });
  }
}

template <typename T, typename Load, typename Store>
GENIMG_HD void transform_out_order(const FftPlan<T>& plan, T* work, Load load, Store store) {
  constexpr int step = 2 * Vector<T>::lanes;
  const int last = plan.passes - 1;
  if (last <= 0) return transform_of_one_pass(plan, load, store);
  const int64_t part = plan.n / plan.radix[0];
  const int64_t jump = plan.n / plan.radix[last], groups = part / plan.radix[last];
  for (int p = 0; p < plan.radix[0]; ++p) {
    T* const own = work + p * part * step;
    const int32_t* frequency = plan.frequency + p * groups;
    with_radix(plan.radix[last], [&](auto r) GENIMG_INLINE_LAMBDA {
      pass<T, Twiddle::none>(
          r, groups, plan.twiddle[last],
          [&](int64_t g, int q) GENIMG_INLINE_LAMBDA { return load(frequency[g] + q * jump); },
          [&](int64_t g, int q, ComplexVector<T> x)
              GENIMG_INLINE_LAMBDA { store_complex(own + (g * r.value + q) * step, x); });
    });
    int64_t length = plan.radix[last];
    for (int s = last - 1; s > 0; --s) {
      length *= plan.radix[s];
      pass_in_place<T, Twiddle::before>(plan.radix[s], own, part, length, plan.twiddle[s]);
    }
  }
  with_radix(plan.radix[0], [&](auto r) GENIMG_INLINE_LAMBDA {
    pass<T, Twiddle::before>(
        r, part, plan.twiddle[0],
        [&](int64_t j, int q) GENIMG_INLINE_LAMBDA { return load_complex(work + (j + q * part) * step); },
        [&](int64_t j, int q, ComplexVector<T> x) GENIMG_INLINE_LAMBDA { store(j + q * part, x); });
  });
}

}  // namespace GENIMG_ISA
}  // namespace genimg::steerable
