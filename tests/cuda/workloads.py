"""What the budgets of the CUDA kernels are measured on: operations of the package, on the traced harness.

``python workloads.py LIBRARY`` runs them and prints, for each, what the tracer counted, as JSON. That needs a process
of its own: the traced library registers the same operators as the plain one.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import multiview
import torch

import genimg_fast as gf
from genimg_fast import _statistics_torch as statistics
from genimg_fast import _torch
from genimg_fast.steerable import _freq_torch
from genimg_fast.steerable._freq_map import FreqMap

# Rows of a power of two are the common case; smaller images have larger shares of rows' ends.
SIZE = 256


LONG, SHORT = (2, 128, 128), (2, 64, 64)  # rows above and below what one block sorts by itself


def _image(channels: int = 1, size: int = SIZE) -> torch.Tensor:
    return torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))


def _pyramid(**options: Any) -> gf.SteerablePyramidFreq:
    return gf.SteerablePyramidFreq((SIZE, SIZE), height=4, **options)


def _steerable_freq() -> dict[str, Callable[[], object]]:
    image = _image()
    workloads: dict[str, Callable[[], object]] = {}
    for suffix, options in (("", {}), ("_complex", {"is_complex": True}), ("_lut", {"masks": "lut"})):
        pyramid = _pyramid(**options)
        coefficients = pyramid(image)
        workloads[f"steerable_freq_analysis{suffix}"] = lambda p=pyramid: p(image)
        workloads[f"steerable_freq_synthesis{suffix}"] = lambda p=pyramid, c=coefficients: p.recon_pyr(c)
        m = _with_reconstructions(pyramid._forward)
        outputs = _freq_torch.analysis(m, image[0])
        workloads[f"steerable_freq_analysis{suffix}_reconstructions"] = lambda m=m: _freq_torch.analysis(m, image[0])
        workloads[f"steerable_freq_synthesis{suffix}_reconstructions"] = lambda m=m, c=outputs: _freq_torch.synthesis(
            m, c
        )
    return workloads


def _with_reconstructions(m: FreqMap) -> FreqMap:
    count = m.pyramid[2] + 1
    return dataclasses.replace(m, subset=(*m.subset, *[1] * count), scales=(*m.scales, *[1.0] * count))


def _values(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0, ordered: bool = False) -> torch.Tensor:
    if ordered:
        return torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(dtype) if dtype.is_floating_point else (values * 250).to(dtype)


def _matching(method: str, dtype: torch.dtype, shape: tuple[int, ...], ordered: bool = False) -> Callable[[], object]:
    source = _values(shape, dtype, ordered=ordered)
    reference = _values(shape, dtype, seed=1)
    return lambda: gf.match_histograms(source, reference, method=method)


def _gradient(method: str, shape: tuple[int, ...], ordered: bool = False) -> Callable[[], object]:
    source = _values(shape, torch.float32, ordered=ordered)
    reference = _values(shape, torch.float32, seed=1).requires_grad_()
    return lambda: gf.match_histograms(source, reference, method=method).sum().backward()


def _tangent(shape: tuple[int, ...]) -> Callable[[], object]:
    """The derivative by the reference, as the second derivative by what the gradient is applied to."""
    source = _values(shape, torch.float32)
    reference = _values(shape, torch.float32, seed=1).requires_grad_()
    weight = torch.ones(shape, requires_grad=True)

    def run() -> object:
        matched = gf.match_histograms(source, reference, method="value")
        (gradient,) = torch.autograd.grad((weight * matched).sum(), reference, create_graph=True)
        return torch.autograd.grad(gradient.sum(), weight)

    return run


def _sorted_reference(shape: tuple[int, ...]) -> Callable[[], object]:
    reference = gf.HistogramReference(_values(shape, torch.float32, seed=1))
    source = _values(shape, torch.float32)
    return lambda: reference.match(source)


def _histogram() -> dict[str, Callable[[], object]]:
    f32, f64, u8, u16 = torch.float32, torch.float64, torch.uint8, torch.uint16
    return {
        "match_value_f32_short": _matching("value", f32, SHORT),
        "match_value_f32_short_6_images": _matching("value", f32, (6, *SHORT[1:])),
        "match_value_f32_long": _matching("value", f32, LONG),
        "match_value_f32_long_6_images": _matching("value", f32, (6, *LONG[1:])),
        "match_rank_f32_short": _matching("rank", f32, SHORT),
        "match_rank_f32_short_ordered": _matching("rank", f32, SHORT, ordered=True),
        "match_rank_f32_long": _matching("rank", f32, LONG),
        "match_rank_f64_short": _matching("rank", f64, SHORT),
        "match_rank_f64_long": _matching("rank", f64, LONG),
        "match_value_u8": _matching("value", u8, LONG),
        "match_rank_u8_long": _matching("rank", u8, LONG),
        "match_rank_u16_long": _matching("rank", u16, LONG),
        "sort_short": lambda: gf.HistogramReference(_values(SHORT, f32)),
        "match_sorted_reference_short": _sorted_reference(SHORT),
        "match_sorted_reference_long": _sorted_reference(LONG),
        "gradient_value": _gradient("value", SHORT),
        "gradient_rank": _gradient("rank", SHORT),
        "gradient_rank_ordered": _gradient("rank", SHORT, ordered=True),
        "tangent": _tangent(SHORT),
    }


def _steerable_space() -> dict[str, Callable[[], object]]:
    pyramid = gf.SteerablePyramidSpace((SIZE, SIZE), height=2, order=3)
    image = _image()
    coefficients = pyramid(image)
    given, wanted = image.clone().requires_grad_(), {k: c.clone().requires_grad_() for k, c in coefficients.items()}
    return {
        "steerable_space_analysis": lambda: pyramid(image),
        "steerable_space_synthesis": lambda: pyramid.recon_pyr(coefficients),
        "steerable_space_analysis_gradient": lambda: torch.autograd.grad(
            list(pyramid(given).values()), given, list(coefficients.values())
        ),
        "steerable_space_synthesis_gradient": lambda: torch.autograd.grad(
            pyramid.recon_pyr(wanted), list(wanted.values()), image
        ),
    }


# Two rows of tiles, the second half empty, and four runs of pixels.
FEATURES = (1, 96, 16, 32)


def _features(dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = FEATURES) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def _gram_gradient(loss: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], object]:
    given = x.requires_grad_()
    return lambda: torch.autograd.grad(loss(given), given)


def _gram_loss(**options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: gf.gram_loss(x, torch.zeros(len(x), x.shape[1], x.shape[1], dtype=x.dtype), **options)


def _gram() -> dict[str, Callable[[], object]]:
    x, mask = _features(), torch.rand(FEATURES[2:])
    other, last = _features(shape=(1, 32, 16, 32)), x.contiguous(memory_format=torch.channels_last)
    return {
        "gram_f32": lambda: gf.gram_matrix(x),
        "gram_f64": lambda: gf.gram_matrix(_features(torch.float64)),
        "gram_f16": lambda: gf.gram_matrix(_features(torch.float16)),
        "gram_bf16": lambda: gf.gram_matrix(_features(torch.bfloat16)),
        "gram_tf32": lambda: gf.gram_matrix(x, allow_tf32=True),
        "gram_channels_last": lambda: gf.gram_matrix(last),
        "gram_centered_f16": lambda: gf.gram_matrix(_features(torch.float16), center=True),
        "gram_masked_covariance": lambda: gf.gram_matrix(x, mask=mask, center=True),
        "gram_other_layer": lambda: gf.gram_matrix(x, other=other, center=True),
        "gram_loss": lambda: _gram_loss()(x),
        "gram_loss_6_images": lambda: _gram_loss()(_features(shape=(6, *FEATURES[1:]))),
        "gram_loss_gradient": _gram_gradient(_gram_loss(relu=True), _features()),
        "gram_loss_gradient_f64": _gram_gradient(_gram_loss(), _features(torch.float64)),
        "gram_loss_gradient_tf32": _gram_gradient(_gram_loss(allow_tf32=True), _features()),
        "gram_loss_gradient_centered": _gram_gradient(_gram_loss(center=True, mask=mask), _features()),
        "gram_loss_gradient_centered_f64": _gram_gradient(_gram_loss(center=True), _features(torch.float64)),
    }


FLIPS = ("identity", "flip_rows", "flip_columns", "half_turn")
TURNS = ("clockwise", "counterclockwise", "transpose", "antitranspose")
GATHERS = ("skew", "circle", "hinge", "stored")
PICTURES = (1, 3, 64, 64)


def _operators(case: multiview.Case) -> dict[str, Callable[[], object]]:
    """Return apply, reduce and step on what a case is made of."""
    run = multiview.Operators("cpu", case)
    return {"apply": run.apply, "reduce": run.reduce, "step": run.step}


def _multiview() -> dict[str, Callable[[], object]]:
    workloads = {}
    for dtype, suffix in multiview.SUFFIXES.items():
        for kind, names in (("flips", FLIPS), ("turns", TURNS)):
            case = multiview.Case(PICTURES, names, dtype)
            workloads |= {f"multiview_{name}_{kind}_{suffix}_ordered": run for name, run in _operators(case).items()}
    dynamic = {"quantile": 0.95, "average": multiview.EXPECTED}
    for dtype, suffix in multiview.SUFFIXES.items():
        case = multiview.Case(PICTURES, FLIPS + TURNS, dtype, **dynamic)
        workloads[f"multiview_dynamic_{suffix}_ordered"] = _operators(case)["step"]
    six = multiview.Case((6, *PICTURES[1:]), FLIPS, quantile=0.95)
    one = multiview.Case(PICTURES, FLIPS, quantile=0.95)
    gathers = multiview.Case(PICTURES, GATHERS)
    workloads |= {
        "multiview_dynamic": _operators(one)["step"],
        "multiview_dynamic_6_images": _operators(six)["step"],
        **{f"multiview_{name}_gathers": run for name, run in _operators(gathers).items()},
    }
    return workloads


# Rows of whole sectors: two tiles in each direction, and one.
PLANES = {"64": (1, 64, 64), "32": (1, 32, 32)}


def _planes(dtype: torch.dtype, shape: tuple[int, ...] = PLANES["64"]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def _statistics() -> dict[str, Callable[[], object]]:
    workloads: dict[str, Callable[[], object]] = {}
    for dtype, suffix in ((torch.float32, "f32"), (torch.float64, "f64")):
        x, small = _planes(dtype), _planes(dtype, PLANES["32"])
        for radius in range(1, 10):
            y, size = x if radius in (3, 6) else small, 2 * radius + 1
            taps = torch.ones(1, size, size, dtype=torch.float64)
            workloads |= {
                f"statistics_correlation_{radius}_{suffix}": lambda y=y, r=radius: statistics.correlation(y, y, r),
                f"statistics_convolution_{radius}_{suffix}": lambda y=y, t=taps: statistics.convolution(y, t),
            }
        bands = torch.complex(_planes(dtype, (1, 4, 32, 64)), _planes(dtype, (1, 4, 32, 64)))
        wanted = bands.clone().requires_grad_()
        workloads |= {
            f"statistics_cross_correlation_{suffix}": lambda x=x: statistics.correlation(x, x.clone(), 3),
            f"statistics_power_sums_{suffix}": lambda x=x: [statistics.power_sums(x, k, x) for k in (4, 5, 16)],
            f"statistics_polynomial_{suffix}": lambda x=x: statistics.polynomial(x, torch.ones(1, 5).double(), x),
            f"statistics_phases_{suffix}": lambda z=bands: statistics.magnitudes_and_phases(z, z),
            f"statistics_phases_gradient_{suffix}": lambda z=wanted: torch.autograd.grad(
                [y.sum() for y in statistics.magnitudes_and_phases(z, z)], z
            ),
        }
    six = _planes(torch.float32, (6, 64, 64))
    workloads["statistics_correlation_3_f32_6_images"] = lambda: statistics.correlation(six, six, 3)
    return workloads


FAMILIES = (_steerable_freq, _steerable_space, _histogram, _gram, _multiview, _statistics)


def measure(library: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the tracer counted in each workload: its report of each kernel."""
    tracer = ctypes.CDLL(library)
    tracer.cuda_on_cpu_trace_report.restype = ctypes.c_char_p
    reports = {}
    with _torch.use_cuda_on_cpu(library):
        for name, run in {name: run for family in FAMILIES for name, run in family().items()}.items():
            tracer.cuda_on_cpu_trace_reset()
            run()
            reports[name] = json.loads(tracer.cuda_on_cpu_trace_report())["kernels"]
    return reports


if __name__ == "__main__":
    json.dump(measure(sys.argv[1]), sys.stdout)
