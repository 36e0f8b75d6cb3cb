"""Projections of planes onto sets of planes with one statistic each.

J. Portilla, E. P. Simoncelli, "A parametric texture model based on joint statistics of complex wavelet coefficients",
IJCV 40 (2000), sections 3.1-3.2 and appendix. All of them move planes along the gradient of the statistic. Planes are
float32 or float64; the small systems behind a projection are solved in float64. Whatever a plane cannot have because it
is constant is left alone: nothing becomes NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genimg_fast import _gram_torch
from genimg_fast import _statistics_torch as sums
from genimg_fast.textures._transforms import Shape, inverse, shape_of, spectrum

_RIDGE = 1e-10  # of a plane's variance: keeps systems of almost dependent equations solvable
_RANK = 1e-9  # variances below that of the largest are of directions that planes do not have
_FURTHEST = 10.0  # standard deviations: steps along the gradient of skewness or kurtosis are not longer


# ---- Autocorrelation ------------------------------------------------------------------------------------------------


def with_autocorrelation(planes: Tensor, target: Tensor, transformed: Tensor | None = None) -> Tensor:
    """Return planes with given products of neighbouring pixels.

    A symmetric filter as large as the neighbourhood multiplies the power spectrum; where it were negative, its absolute
    value does, and the products are approximate.

    Args:
        planes: (..., H, W).
        target: (..., 2 r + 1, 2 r + 1), float64: means of the products of pixels with their neighbours. r is below a
            quarter of the shorter side.
        transformed: `spectrum` of the planes, if it is known.
    """
    radius = target.shape[-1] // 2
    current = sums.correlation(planes, planes, 2 * radius) / math.prod(planes.shape[-2:])
    taps = _power_filter(current, target)
    gain = _response(taps, shape_of(planes)).abs().sqrt().to(planes.dtype)
    transformed = spectrum(planes) if transformed is None else transformed
    return inverse(transformed * gain, shape_of(planes))


def _power_filter(current: Tensor, target: Tensor) -> Tensor:
    """Return the filters (..., w, w) that take autocorrelations (..., 2 w - 1, 2 w - 1) to others (..., w, w).

    It has as many free taps as there are products: equations 23-24 of the paper.
    """
    r = target.shape[-1] // 2
    dy, dx = _half_plane(r)
    variance = current[..., 2 * r, 2 * r]
    varies = variance > 0
    scale = torch.where(varies, variance, 1)[..., None, None]
    current, wanted = current / scale, target[..., dy + r, dx + r] / scale[..., 0]

    def at(y: Tensor, x: Tensor) -> Tensor:
        return current[..., y + 2 * r, x + 2 * r]

    # Each tap but the middle one stands for two; half the middle one is the unknown, so that the system is symmetric.
    system = at(dy[:, None] - dy, dx[:, None] - dx) + at(dy[:, None] + dy, dx[:, None] + dx)
    identity = torch.eye(len(dy), dtype=system.dtype, device=system.device)
    system = torch.where(varies[..., None, None], system + _RIDGE * identity, identity)
    found = _solved(system, wanted)
    found = torch.cat([found[..., :-1], 2 * found[..., -1:]], -1)
    taps = torch.zeros_like(target)
    taps[..., dy + r, dx + r] = found
    taps[..., r - dy, r - dx] = found
    return taps


def _solved(system: Tensor, wanted: Tensor) -> Tensor:
    """Return the solutions (..., m) of systems (..., m, m)."""
    if system.device.type != "cpu":
        return torch.linalg.solve(system, wanted)
    # One by one: LAPACK's bits of several depend on their number.
    m = wanted.shape[-1]
    pairs = zip(system.reshape(-1, m, m), wanted.reshape(-1, m), strict=True)
    return torch.stack([torch.linalg.solve(a, b) for a, b in pairs]).reshape(wanted.shape)


def _half_plane(radius: int) -> tuple[Tensor, Tensor]:
    """Return the lags of one half of a neighbourhood, of which the last is 0."""
    lags = torch.arange(-radius, radius + 1)
    dy, dx = (one.flatten() for one in torch.meshgrid(lags, lags, indexing="ij"))
    half = (2 * radius + 1) ** 2 // 2 + 1
    return dy[:half], dx[:half]


def _response(taps: Tensor, shape: Shape) -> Tensor:
    """Return the frequency response (..., H, W // 2 + 1) of symmetric filters (..., w, w)."""
    cosine_y, sine_y, cosine_x, sine_x = (one.to(taps.device) for one in _waves(shape, taps.shape[-1] // 2))

    def response(some: Tensor) -> Tensor:
        return cosine_y @ some @ cosine_x - sine_y @ some @ sine_x

    if taps.device.type != "cpu":
        return response(taps)
    # One by one: the bits of several products at once depend on their number.
    flat = taps.reshape(-1, *taps.shape[-2:])
    return torch.stack([response(one) for one in flat]).unflatten(0, taps.shape[:-2])


@functools.lru_cache(maxsize=64)
def _waves(shape: Shape, radius: int) -> tuple[Tensor, ...]:
    lags = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y = 2 * math.pi * torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None] * lags
    x = 2 * math.pi * torch.fft.rfftfreq(shape[1], dtype=torch.float64) * lags[:, None]
    return y.cos(), y.sin(), x.cos(), x.sin()


# ---- Products of planes ---------------------------------------------------------------------------------------------


def with_products(planes: Tensor, current: Tensor, target: Tensor) -> Tensor:
    """Return the first n of some planes with given products with each other and with the other planes.

    They become sums of all planes: what cannot be foretold from the others takes the covariance that is left
    (equation 17; the orthogonal matrix is the one that the published code chooses).

    Args:
        planes: (G, n + m, H, W).
        current: (G, n + m, n + m), float64: means of the products of the planes.
        target: (G, n, n + m), float64: those of the first n that are asked for.
    """
    return mixed(_product_matrix(current, target), planes)


def with_each_products(planes: Tensor, current: Tensor, target: Tensor) -> Tensor:
    """Return the first n of some planes, each with its variance and given products with the last m, (G, n, m)."""
    n = target.shape[-2]
    variances, cross, others = current[:, :n, :n].diagonal(0, -2, -1), current[:, :n, n:], current[:, n:, n:]
    inverse_of_others = _power(others, -1)
    left, wanted = (variances - ((one @ inverse_of_others) * one).sum(-1) for one in (cross, target))
    exists = left > _RANK * variances
    first = torch.where(exists, wanted.clamp_min(0) / torch.where(exists, left, 1), 0).sqrt()
    return mixed(
        torch.cat([torch.diag_embed(first), (target - first[..., None] * cross) @ inverse_of_others], -1), planes
    )


def mixed(matrix: Tensor, planes: Tensor) -> Tensor:
    """Return a matrix (G, n, m) times planes (G, m, H, W)."""
    return _gram_torch.Tensors.applied(matrix.to(planes.dtype).contiguous(), planes)


def _product_matrix(current: Tensor, target: Tensor) -> Tensor:
    n = target.shape[-2]
    own, cross, others = current[:, :n, :n], current[:, :n, n:], current[:, n:, n:]
    if not others.numel():
        return (_power(own, -0.5) @ _power(target, 0.5)).mT
    wanted = target[..., n:]
    inverse_of_others = _power(others, -1)
    left = own - cross @ inverse_of_others @ cross.mT
    left_wanted = target[..., :n] - wanted @ inverse_of_others @ wanted.mT
    first = (_power(left, -0.5) @ _power(left_wanted, 0.5)).mT
    return torch.cat([first, (wanted - first @ cross) @ inverse_of_others], -1)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a covariance matrix; its inverse is the pseudoinverse, and negative variances count as 0."""
    variances, axes = torch.linalg.eigh((matrix + matrix.mT) / 2)
    largest = variances[..., -1:].clamp_min(0)
    exists = variances > _RANK * largest
    powers = torch.where(exists, torch.where(exists, variances, 1) ** exponent, 0)
    return (axes * powers[..., None, :]) @ axes.mT


# ---- Moments --------------------------------------------------------------------------------------------------------


def with_moments(planes: Tensor, variance: Tensor | None, skewness: Tensor | None, kurtosis: Tensor | None) -> Tensor:
    """Return planes with a given variance and, one after the other, skewness and kurtosis.

    Each pixel takes a polynomial of its value: a step along the gradient of the moment, as long as leads to the value
    asked for, or, where no step does, to the nearest one before the moment turns back (section 3.2; the kurtosis' step
    changes the skewness a little). The step's length is the root of a polynomial in a bracket where it is monotonous:
    it cannot run away.

    Args:
        planes: (..., H, W), of the mean 0.
        variance, skewness, kurtosis: (...), float64. None: left alone.
    """
    now = sums.power_means(planes, 3)[..., 2]
    varies = now > 0
    inverse_deviation = torch.where(varies, torch.where(varies, now, 1).rsqrt(), 0)
    unit = _scaled(planes, inverse_deviation)
    for order, wanted in ((3, skewness), (4, kurtosis)):
        if wanted is not None:
            moments = sums.power_means(unit, order * (order - 1) + 1)
            unit = sums.polynomial(unit, _steps(moments, order, wanted))
    return _scaled(unit, (now if variance is None else variance).clamp_min(0).sqrt())


def _scaled(planes: Tensor, factor: Tensor) -> Tensor:
    return sums.polynomial(planes, torch.stack([torch.zeros_like(factor), factor], -1))


def _steps(moments: Tensor, order: int, wanted: Tensor) -> Tensor:
    """Return the polynomials (..., order) that change the moment of an order of planes with moments (..., n)."""
    table = moments.reshape(-1, moments.shape[-1]).cpu().numpy()
    rows = [step(m, order, w) for m, w in zip(table, wanted.flatten().tolist(), strict=True)]
    return torch.from_numpy(np.stack(rows)).to(moments).reshape(*moments.shape[:-1], order)


def step(moments: Sequence[float], order: int, wanted: float) -> np.ndarray:
    """Return the polynomial that gives a standardised variable a skewness or a kurtosis.

    Args:
        moments: Of the variable: 1, 0, 1, its third moment, and so on up to 6 (skewness) or 12 (kurtosis).
        order: 3 for the skewness, 4 for the kurtosis.
        wanted: The value asked for.

    Returns:
        The coefficients of 1, x, ..., x^(order - 1), such that the variance stays 1.
    """
    m = np.asarray(moments, np.float64)
    if m[2] < 0.5:  # a constant
        return np.eye(order)[1]
    # The gradient of the moment along which neither mean nor variance change at first.
    gradient = np.array([-1, -m[3], 1]) if order == 3 else np.array([-m[3], -m[4], 0, 1])
    moment, variance = _along(m, gradient, order), _along(m, gradient, 2)
    length = _length(moment, variance, order, wanted)
    polynomial = length * gradient
    polynomial[1] += 1
    return polynomial / math.sqrt(_value(variance, length))


def _along(moments: np.ndarray, gradient: np.ndarray, order: int) -> list[float]:
    """Return the mean of (x + t g(x))^order as a polynomial in t."""
    coefficients, power = [], np.ones(1)
    for j in range(order + 1):
        first = order - j
        coefficients.append(math.comb(order, j) * float(power @ moments[first : first + len(power)]))
        power = np.convolve(power, gradient)
    return coefficients


def _length(moment: list[float], variance: list[float], order: int, wanted: float) -> float:
    """Return the t for which moment(t) / variance(t)^(order / 2) is the value wanted, or as near as it gets."""
    # Of the standardised moment's derivative the highest power cancels. Around 0 it is positive.
    rise = np.convolve(_derivative(moment), variance) - order / 2 * np.convolve(moment, _derivative(variance))
    turns = np.roots(rise[order::-1])
    real = turns.real[abs(turns.imag) <= 1e-6 * abs(turns)]
    low = max([t for t in real if t < 0], default=-_FURTHEST)
    high = min([t for t in real if t > 0], default=_FURTHEST)
    low, high = max(low, -_FURTHEST), min(high, _FURTHEST)

    def standardised(t: float) -> float:
        return _value(moment, t) / _value(variance, t) ** (order / 2)

    if not standardised(low) < wanted < standardised(high):
        return low if wanted <= standardised(low) else high
    for _ in range(52):
        middle = (low + high) / 2
        low, high = (middle, high) if standardised(middle) < wanted else (low, middle)
    return (low + high) / 2


def _derivative(polynomial: Sequence[float]) -> list[float]:
    return [k * coefficient for k, coefficient in enumerate(polynomial)][1:]


def _value(polynomial: Sequence[float], t: float) -> float:
    value = 0.0
    for coefficient in reversed(polynomial):
        value = value * t + coefficient
    return value
