"""The launchers of csrc/multiview/cuda.h, called without torch, and what views and steps must give, in float64.

The cases serve every device: ``launched`` runs one through the launchers, ``operated`` through the torch operators.
The truth is NumPy's: whole index arrays from the formulas of each view, none of the package's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from kernel_library import KernelLibrary

NAME = "multiview"
SOURCES = ("multiview/cuda.cu",)

MAX_VIEWS = 64
AFFINE, ROLL, CIRCLE, HINGE, STORED = range(5)
PREDICTION, EXPECTED, SAMPLE = range(3)
SUFFIXES = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}
DTYPES = tuple(SUFFIXES)

# ---- views: out[c, p] = sign in[channel, src(p)]


@dataclass(frozen=True)
class View:
    """A row of a plan: kind and parameters, what the tables hold, and the sources as (rows, columns) of all pixels."""

    kind: int
    parameters: tuple[int, ...]
    rows: np.ndarray
    columns: np.ndarray
    table: np.ndarray | None = None
    channels: tuple[int, ...] | None = None  # source + 1, with the sign

    def __call__(self, x: np.ndarray, signed: bool = True) -> np.ndarray:
        """Gather from (..., C, H, W)."""
        channels = np.array(self.channels or range(1, x.shape[-3] + 1))
        signs = np.where(channels < 0, -1.0, 1.0) if signed else np.ones(len(channels))
        return signs[:, None, None] * x[..., np.abs(channels) - 1, :, :][..., self.rows, self.columns]


def make_view(name: str, height: int, width: int, channels: tuple[int, ...] | None = None) -> View:
    """Return a view by its name; `channels` are moved and signed with it."""
    y, x = np.indices((height, width))
    affine: dict[str, tuple[tuple[int, ...], np.ndarray, np.ndarray]] = {
        "identity": ((1, 0, 0, 0, 1, 0), y, x),
        "flip_rows": ((-1, 0, height - 1, 0, 1, 0), height - 1 - y, x),
        "flip_columns": ((1, 0, 0, 0, -1, width - 1), y, width - 1 - x),
        "half_turn": ((-1, 0, height - 1, 0, -1, width - 1), height - 1 - y, width - 1 - x),
        "clockwise": ((0, -1, width - 1, 1, 0, 0), width - 1 - x, y),
        "counterclockwise": ((0, 1, 0, -1, 0, height - 1), x, height - 1 - y),
        "transpose": ((0, 1, 0, 1, 0, 0), x, y),
        "antitranspose": ((0, -1, width - 1, -1, 0, height - 1), width - 1 - x, height - 1 - y),
    }
    if name in affine:
        return View(AFFINE, *affine[name], None, channels)
    if name == "skew":
        shifts = np.trunc(1.5 * (np.arange(width) - height // 2)).astype(int) % height
        return View(ROLL, (0,) * 6, (y - shifts[x]) % height, x, shifts, channels)
    if name == "circle":
        side = min(height, width)
        inside = (x + 0.5 - width / 2) ** 2 + (y + 0.5 - height / 2) ** 2 < (3 * side / 8) ** 2
        return View(
            CIRCLE,
            (side, 0, 0, 0, 0, 0),
            np.where(inside, height - 1 - y, y),
            np.where(inside, width - 1 - x, x),
            None,
            channels,
        )
    if name in ("hinge", "inverse_hinge"):
        side, turn = min(height, width) // 3, 1 if name == "hinge" else -1
        rows, columns = y.copy(), x.copy()
        for i in range(3):
            for j in range(3):
                square = np.s_[i * side : (i + 1) * side, j * side : (j + 1) * side]
                quarter_turns = -turn if (i + j) % 2 == 0 else turn  # np.rot90: positive is counterclockwise
                rows[square], columns[square] = (np.rot90(index[square], quarter_turns) for index in (y, x))
        return View(HINGE, (side, turn, 0, 0, 0, 0), rows, columns, None, channels)
    assert name == "stored"
    index = np.random.default_rng(5).permutation(height * width).reshape(height, width)
    return View(STORED, (0,) * 6, index // width, index % width, index.ravel(), channels)


ANY_SHAPE = ("identity", "flip_rows", "flip_columns", "half_turn", "skew", "circle", "stored")
SQUARE = (*ANY_SHAPE, "clockwise", "counterclockwise", "transpose", "antitranspose", "hinge", "inverse_hinge")


@dataclass(frozen=True)
class Plan:
    """Views as rows and tables."""

    rows: np.ndarray
    tables: np.ndarray

    @classmethod
    def of(cls, views: Sequence[View]) -> Plan:
        rows, tables, length = [], [np.zeros(1, np.int64)], 1
        for view in views:
            offsets = []
            for entries in (view.table, view.channels):
                offsets.append(-1 if entries is None else length)
                if entries is not None:
                    tables.append(np.asarray(entries))
                    length += len(entries)
            rows.append([view.kind, *view.parameters, max(offsets[0], 0), offsets[1], 0, 0, 0])
        return cls(np.array(rows, np.int64).reshape(-1, 12), np.concatenate(tables).astype(np.int32))


# ---- cases

# A step in which every coefficient matters: of x0, x, the prediction, the fixed and the learned deviation.
STEP = (1.3, -0.8, 0.6, 0.35, 0.1, 0.25, -1.2, 0.4)


@dataclass(frozen=True)
class Case:
    """A step (and what it is made of) on random numbers; every weight, guidance and sign differs from the others."""

    shape: tuple[int, int, int, int]
    names: tuple[str, ...] = ANY_SHAPE
    dtype: str = "float32"
    guided: bool = True
    variance: bool = True
    average: int = PREDICTION
    quantile: float = 0.0
    limit: float = np.inf
    noise: bool = True
    moves_channels: bool = True
    skipped: tuple[int, ...] = ()  # views that weigh nothing

    def __str__(self) -> str:
        words = ["x".join(map(str, self.shape)), self.dtype, f"{len(self.names)}v", f"a{self.average}"]
        words += [f"q{self.quantile:g}", f"r{self.limit:g}"]
        flags = ("guided", "variance", "noise")
        return "-".join(words + [flag for flag in flags if getattr(self, flag)])

    @property
    def copies(self) -> int:
        return 2 if self.guided else 1

    def views(self) -> list[View]:
        return [make_view(name, *self.shape[2:], self._channels(i)) for i, name in enumerate(self.names)]

    def _channels(self, i: int) -> tuple[int, ...] | None:
        """Every other view moves the channels and turns the sign of some."""
        count = self.shape[1]
        if not self.moves_channels or i % 2 == 0:
            return None
        return tuple(((c + i) % count + 1) * (-1 if (c + i) % 3 == 0 else 1) for c in range(count))

    def weights(self) -> np.ndarray:
        """Guidance, weights, weights of the variance, (3, views)."""
        count = len(self.names)
        i = np.arange(count)
        weights = np.stack([1.5 + 0.25 * i, (1 + 0.1 * i) / count, (1 - 0.01 * i) / count])
        weights[1:, list(self.skipped)] = 0
        return weights

    def factors(self) -> np.ndarray:
        return 1 + np.arange(self.copies * len(self.names)).reshape(self.copies, -1) / 8

    def arrays(self) -> dict[str, np.ndarray]:
        """Return x, stack and z in float64, rounded to the dtype."""
        batch, channels, *size = self.shape
        random = np.random.default_rng(11)
        stack = (self.copies * len(self.names) * batch, channels * (2 if self.variance else 1), *size)
        shapes = {"x": self.shape, "stack": stack, "z": self.shape}
        return {name: rounded(random.standard_normal(shape), self.dtype) for name, shape in shapes.items()}

    def coefficients(self) -> np.ndarray:
        return np.array([*STEP, self.limit, self.quantile])


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    return decoded(encoded(x, dtype), dtype)


def encoded(x: np.ndarray, dtype: str) -> np.ndarray:
    """Return numbers in a dtype; NumPy has no bfloat16, which is uint16 here (rounded to the nearest)."""
    if dtype != "bfloat16":
        return x.astype(dtype)
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def decoded(x: np.ndarray, dtype: str) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32).astype(float) if dtype == "bfloat16" else x.astype(float)


# ---- the truth


@dataclass(frozen=True)
class Results:
    """What the three functions give; arrays of float64."""

    applied: np.ndarray
    noise: np.ndarray
    variance: np.ndarray | None
    step: np.ndarray


def weighted(weights: np.ndarray, stack: np.ndarray) -> np.ndarray:
    return np.tensordot(weights, stack, 1)


def predictions_of(case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    """Return each view's guided prediction and variance as the picture lies, (views, B, C, H, W)."""
    batch, channels, *size = case.shape
    stack = case.arrays()["stack"].reshape(case.copies, len(case.names), batch, -1, *size)
    noise, variance = stack[:, :, :, :channels], stack[-1, :, :, channels:]
    guidance = case.weights()[0].reshape(-1, 1, 1, 1, 1)
    guided = noise[0] + guidance * (noise[1] - noise[0]) if case.guided else noise[0]
    views = case.views()
    straight = np.stack([view(one) for view, one in zip(views, guided, strict=True)])
    if not case.variance:
        return straight, None
    return straight, np.stack([view(one, signed=False) for view, one in zip(views, variance, strict=True)])


def clipped(case: Case, x0: np.ndarray) -> np.ndarray:
    """Clip pictures (..., B, C, H, W)."""
    if case.quantile == 0:
        return np.clip(x0, -case.limit, case.limit)
    s = np.quantile(np.abs(x0), case.quantile, axis=(-3, -2, -1), keepdims=True)
    s = np.minimum(np.maximum(s, 1), case.limit)
    return np.clip(x0, -s, s) / s


def expected_results(case: Case) -> Results:
    arrays = case.arrays()
    _, weights, variance_weights = case.weights()
    applied = np.stack([view(arrays["x"]) for view in case.views()])
    applied = case.factors()[..., None, None, None, None] * applied
    predictions, variances = predictions_of(case)
    m = weighted(weights, predictions)
    v = None if variances is None else weighted(variance_weights, variances)
    x0_from_x, x0_from_m, from_x, from_x0, from_m, deviation, log_deviation, log_slope = STEP
    if case.average == PREDICTION:
        x0 = clipped(case, x0_from_x * arrays["x"] + x0_from_m * m)
    else:
        x0 = weighted(weights, clipped(case, x0_from_x * arrays["x"] + x0_from_m * predictions))
    noise: Any = 0.0
    if case.noise and variances is None:
        noise = deviation
    elif case.noise and case.average == SAMPLE:
        noise = weighted(variance_weights, np.exp(log_deviation + log_slope * variances))
    elif case.noise:
        noise = np.exp(log_deviation + log_slope * v)
    step = from_x * arrays["x"] + from_x0 * x0 + from_m * m + noise * arrays["z"]
    return Results(applied.reshape(-1, *case.shape[1:]), m, v, step)


# Of each number, and of the largest: the rounding of a result, and the sums' own.
ROUNDING = {"float32": (0.0, 1e-5), "float64": (0.0, 1e-13), "float16": (2.0**-11, 1e-5), "bfloat16": (2.0**-8, 1e-5)}


def check_near(got: np.ndarray, want: np.ndarray, dtype: str) -> None:
    of_each, of_largest = ROUNDING[dtype]
    np.testing.assert_allclose(got, want, of_each, of_largest * max(1.0, float(np.abs(want).max(initial=0))))


def check_case(case: Case, run: Callable[[Case], Results]) -> Results:
    """Run a case and compare it with NumPy's."""
    got, want = run(case), expected_results(case)
    for name in ("applied", "noise", "variance", "step"):
        if (wanted := getattr(want, name)) is not None:
            check_near(getattr(got, name), wanted, case.dtype)
    return got


# ---- through the launchers


class CShape(ctypes.Structure):
    """genimg::multiview::Shape."""

    _fields_ = (
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
    )


class CView(ctypes.Structure):
    """genimg::multiview::View."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("p", ctypes.c_int32 * 6),
        ("table", ctypes.c_void_p),
        ("channels", ctypes.c_void_p),
    )


class CViews(ctypes.Structure):
    """genimg::multiview::Views."""

    _fields_ = (("view", CView * MAX_VIEWS), ("count", ctypes.c_int32))


class CPrediction(ctypes.Structure):
    """genimg::multiview::Prediction."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("is_guided", ctypes.c_bool),
        ("has_variance", ctypes.c_bool),
        ("weights", ctypes.c_double * MAX_VIEWS * 3),
    )


class CSampling(ctypes.Structure):
    """genimg::multiview::Sampling."""

    _fields_ = (
        ("step", ctypes.c_double * 8),
        ("average", ctypes.c_int),
        ("range", ctypes.c_double),
        ("quantile", ctypes.c_double),
    )


def c_views(library: KernelLibrary, views: Sequence[View]) -> CViews:
    plan, result = Plan.of(views), CViews(count=len(views))
    tables = library.array(plan.tables)
    for i, row in enumerate(plan.rows):
        channels = None if row[8] < 0 else tables[row[8] :].ctypes.data
        result.view[i] = CView(row[0], (ctypes.c_int32 * 6)(*row[1:7]), tables[row[7] :].ctypes.data, channels)
    return result


def c_prediction(values: np.ndarray, case: Case) -> CPrediction:
    result = CPrediction(values.ctypes.data, case.guided, case.variance)
    for to, weights in zip(result.weights, case.weights(), strict=True):
        to[: len(weights)] = weights.tolist()
    return result


def c_sampling(case: Case) -> CSampling:
    return CSampling((ctypes.c_double * 8)(*STEP), case.average, case.limit, case.quantile)


@dataclass
class Launcher:
    """Runs cases through a library's launchers. shift: by how many numbers arrays are off the alignment of memory."""

    library: KernelLibrary
    shift: int = 0
    in_place: bool = False
    with_factors: bool = True
    launches: dict[str, int] = field(default_factory=dict)

    def array(self, values: np.ndarray, dtype: str) -> np.ndarray:
        result = self.empty(values.shape, encoded(values[:0], dtype).dtype)
        result[...] = encoded(values, dtype)
        return result

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        count = int(np.prod(shape))
        return self.library.empty((count + self.shift,), dtype)[self.shift :].reshape(shape)

    def check(self, name: str, case: Case, *arguments: Any) -> None:
        before = self.library.launch_count()
        self.library.check(f"launch_{name}_views_{SUFFIXES[case.dtype]}", *arguments)
        self.launches[name] = self.library.launch_count() - before

    def __call__(self, case: Case) -> Results:
        """Run the three functions on a case."""
        shape = ctypes.byref(CShape(*case.shape))
        views = ctypes.byref(c_views(self.library, case.views()))
        x, stack, z = (self.array(values, case.dtype) for values in case.arrays().values())
        copies = case.copies if self.with_factors else 1
        applied = self.empty((copies * len(case.names) * case.shape[0], *case.shape[1:]), x.dtype)
        factors = np.ascontiguousarray(case.factors()) if self.with_factors else None
        self.check("apply", case, x, shape, views, copies, factors, applied, None)

        prediction = ctypes.byref(c_prediction(stack, case))
        noise, variance = self.empty(case.shape, x.dtype), self.empty(case.shape, x.dtype) if case.variance else None
        self.check("reduce", case, prediction, shape, views, noise, variance, None)

        z_ = z if case.noise else None
        sampling = ctypes.byref(c_sampling(case))
        arguments = (prediction, shape, views, sampling, z_)
        workspace = self.library.empty(
            self.library.size(f"step_views_workspace_{SUFFIXES[case.dtype]}", *arguments), np.uint8
        )
        before = [array.copy() for array in (x, stack, z)]
        out = x if self.in_place else self.empty(case.shape, x.dtype)
        self.check("step", case, x, *arguments, out, workspace, None)
        for array, values in zip((x, stack, z)[self.in_place :], before[self.in_place :], strict=True):
            np.testing.assert_array_equal(array, values)
        results = [None if array is None else decoded(array, case.dtype) for array in (applied, noise, variance, out)]
        return Results(*results)


def launched(library: KernelLibrary, **options: Any) -> Callable[[Case], Results]:
    return Launcher(library, **options)


def bits_of_views(library: KernelLibrary, case: Case, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the bits that `apply` gives without factors, and those that its index arrays give."""
    got = Launcher(library, shift, with_factors=False)(case).applied
    x = case.arrays()["x"]
    return got, np.concatenate([view(x) for view in case.views()])


# ---- through the torch operators


class Operators:
    """The torch operators on what a case is made of, on a device."""

    def __init__(self, device: str, case: Case) -> None:
        import torch

        dtype, plan = getattr(torch, case.dtype), Plan.of(case.views())
        self.case = case
        self.x, self.stack, self.z = (torch.from_numpy(a).to(device, dtype, copy=True) for a in case.arrays().values())
        self.plan = torch.from_numpy(plan.rows), torch.from_numpy(plan.tables).to(device)
        numbers = (case.factors(), case.weights(), case.coefficients())
        self.factors, self.weights, self.coefficients = map(torch.from_numpy, numbers)

    @property
    def ops(self) -> Any:
        from genimg_fast import _torch

        return _torch.ops()

    def apply(self) -> Any:
        return self.ops.multiview_apply(self.x, *self.plan, self.case.copies, self.factors)

    def reduce(self) -> Any:
        channels = self.case.shape[1]
        return self.ops.multiview_reduce(self.stack, *self.plan, self.weights, self.case.guided, channels)

    def step(self) -> Any:
        z = self.z if self.case.noise else None
        options = (self.weights, self.case.guided, self.coefficients, self.case.average)
        return self.ops.multiview_step(self.x, self.stack, z, *self.plan, *options)


def operated(device: str) -> Callable[[Case], Results]:
    """Run cases through the torch operators on a device."""

    def run(case: Case) -> Results:
        operators = Operators(device, case)
        results = (operators.apply(), *operators.reduce(), operators.step())
        return Results(*(result.double().cpu().numpy() for result in results))

    return run


# ---- cases for all devices

ALIGNED, ODD, WIDE = (2, 3, 40, 40), (1, 2, 35, 35), (2, 1, 9, 70)

CASES = [
    *(Case(ALIGNED, SQUARE, dtype, average=average) for dtype in DTYPES for average in range(3)),
    *(Case(ODD, SQUARE, dtype, average=average) for dtype in DTYPES for average in range(3)),
    *(Case(WIDE, dtype=dtype, quantile=0.9, limit=1.5, average=a) for dtype in DTYPES for a in range(3)),
    *(Case(ALIGNED, ("flip_rows", "clockwise"), dtype, quantile=0.5) for dtype in DTYPES),
    *(Case(WIDE, variance=variance, noise=False, average=a) for variance in (False, True) for a in range(3)),
    *(Case(WIDE, variance=False, average=a, quantile=q) for a in range(3) for q in (0.0, 0.95)),
    *(Case(WIDE, guided=False, average=a, quantile=q, limit=1.0) for a in range(3) for q in (0.0, 1.0)),
    *(Case((1, 4, 1, 1), SQUARE[:-2], dtype, average=EXPECTED, quantile=0.99) for dtype in DTYPES),
    Case((3, 1, 1, 1), ("identity",), variance=False, quantile=0.3),
    Case((1, 1, 64, 64), ("clockwise", "identity"), average=SAMPLE, quantile=0.995, limit=2.0),
    Case((1, 3, 8, 8), SQUARE[:-2] * 5, average=SAMPLE, limit=0.7),
    Case(WIDE, average=EXPECTED, quantile=0.9, skipped=(0, 3, 6)),
    Case(WIDE, average=SAMPLE, skipped=(1, 2, 5)),
]


def exercise(library: KernelLibrary) -> None:
    """Run every launcher and every kernel on small pictures and check what they give."""
    run = launched(library)
    square = (1, 2, 40, 40)
    for dtype in DTYPES:
        check_case(Case(square, SQUARE, dtype, average=SAMPLE), run)
        check_case(Case((1, 2, 33, 33), SQUARE, dtype, quantile=0.9), run)
        check_case(Case((2, 3, 5, 40), ("identity", "skew"), dtype, average=EXPECTED, quantile=0.8), run)
    got, want = bits_of_views(library, replace(CASES[0], shape=square))
    np.testing.assert_array_equal(got, want)
