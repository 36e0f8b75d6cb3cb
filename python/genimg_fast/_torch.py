"""Opens the torch operators and says which of them serve a tensor.

The CUDA operators are a library of their own, opened when the first CUDA tensor comes. The same CUDA sources built for
the host (the harness in ``tests/cuda``) register under another namespace; ``use_cuda_on_cpu`` sends CPU tensors there,
so that the tests of every operation run the CUDA kernels on machines without a GPU.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_unflatten

from genimg_fast import _numpy


def _library(name: str) -> Path | None:
    # In an editable install the sources and the compiled files lie in different folders of the package's path.
    import genimg_fast

    for folder in genimg_fast.__path__:
        path = Path(folder) / name
        if path.exists():
            return path
    return None


def _open_cpu() -> None:
    path = _library("libgenimg_fast_torch.so")
    if path is None:
        raise ImportError("genimg_fast was installed without its torch operators (libgenimg_fast_torch.so is missing)")
    torch.ops.load_library(str(path))


_open_cpu()
_cuda_on_cpu: Any = None  # the harness' operator namespace while the tests use it


@functools.cache
def _open_cuda() -> Exception | None:
    """Open the CUDA operators; return why that failed, or None."""
    if not _numpy.built_with_cuda:
        return RuntimeError("genimg_fast was built without CUDA (no nvcc was found when it was compiled)")
    if not torch.cuda.is_available():
        return RuntimeError(f"torch {torch.__version__} finds no CUDA device")
    path = _library("libgenimg_fast_cuda.so")
    if path is None:
        return RuntimeError("libgenimg_fast_cuda.so is missing from the installation")
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return error
    return None


def why_no_cuda() -> str | None:
    """Return why the CUDA kernels cannot run here, or None if they can."""
    error = _open_cuda()
    return None if error is None else str(error)


def require_cuda() -> None:
    error = _open_cuda()
    if error is not None:
        raise RuntimeError(f"genimg_fast's CUDA kernels are not available: {error}") from error


def backend(x: torch.Tensor) -> str:
    """Return what serves a tensor: "cpu", "cuda" (also on the harness) or "reference" (mps, xpu, ...)."""
    if x.is_cpu:
        return "cpu" if _cuda_on_cpu is None else "cuda"
    if x.is_cuda:
        if not torch.compiler.is_compiling():
            require_cuda()
        return "cuda"
    return "reference"


def ops() -> Any:
    """Return the operator namespace to call: torch.ops.genimg_fast, or the harness' own."""
    return torch.ops.genimg_fast if _cuda_on_cpu is None else _cuda_on_cpu


# ---- Derivatives, and the modes that a call may come in --------------------------------------------------------------


def needs_autograd(*tensors: torch.Tensor | None) -> bool:
    """Tell whether a derivative may be needed, by either mode or a transform of torch.func; operators know of none."""
    # A tensor with a tangent or under a transform need not say so, but there is a level.
    if forward_ad._current_level >= 0 or _functorch_level() is not None:
        return True
    for x in tensors:
        if x is not None and x.requires_grad:
            return torch.is_grad_enabled()
    return False


_functorch_level = torch._C._functorch.maybe_current_level


class Function(torch.autograd.Function):
    """A function with derivatives of both modes, to be called by `call`.

    A subclass has ``forward``, ``setup_context`` (which saves by `save`), ``backward``, and ``tangent``: what a jvp is.
    """

    generate_vmap_rule = True
    forward_mode: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "jvp" not in vars(cls):
            # A class of its own, because torch.compile refuses those with a jvp.
            own = {"jvp": staticmethod(cls.tangent), "__module__": cls.__module__}
            metaclass: Any = type(cls)
            cls.forward_mode = metaclass(cls.__name__ + "ForwardMode", (cls,), own)

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError("a differentiable function of genimg_fast lacks its tangent")


def call(function: type[Function], *arguments: Any) -> Any:
    """Apply a function where a derivative may be needed."""
    if forward_ad._current_level >= 0:
        return function.forward_mode.apply(*arguments)
    return function.apply(*arguments)


def save(ctx: Any, *tensors: torch.Tensor | None) -> None:
    """Keep tensors for the derivatives of either mode; those that were made in inference mode are copied."""
    if not torch.compiler.is_compiling():
        tensors = tuple(x.clone() if x is not None and x.is_inference() else x for x in tensors)
    ctx.save_for_backward(*tensors)
    if forward_ad._current_level >= 0:
        ctx.save_for_forward(*tensors)


@contextlib.contextmanager
def for_keeps() -> Iterator[None]:
    """Make tensors that outlive a call: usable in any mode, whatever mode they are made in."""
    with torch.inference_mode(False), _disable_current_modes(), temporarily_clear_interpreter_stack():
        yield


class Kept:
    """What is made once for each of some keys, such as tensors for each device, in whatever mode it is first needed.

    Compilers take it as it is: arrays they could not follow.

    Args:
        make: Makes it of a key's parts.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._made: dict[Any, Any] = {}

    def of(self, *key: Any) -> Any:
        made = self._made.get(key)
        if made is not None:
            return made
        if not torch.compiler.is_compiling():
            made = self._made[key] = self._new(key)
            return made
        name = f"_made_{key}".replace(".", "_")
        self._add(name, key)
        return getattr(self, name)

    def _new(self, key: tuple[Any, ...]) -> Any:
        with for_keeps():
            return self._make(*key)

    @torch.compiler.assume_constant_result
    def _add(self, name: str, key: tuple[Any, ...]) -> bool:
        # A compiler calls this while it compiles, and then finds the attribute; the dict it has looked at before.
        if name not in vars(self):
            setattr(self, name, self._new(key))
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self._make,)


def full_precision(function: Any, x: torch.Tensor, *more: Any) -> Any:
    """Return ``function(x, *more)``, whose products autocast does not round."""
    if not torch.is_autocast_enabled(x.device.type):
        return function(x, *more)
    with torch.autocast(x.device.type, enabled=False):
        return function(x, *more)


def register_vmap(name: str, rule: Callable[..., Any]) -> None:
    """Tell torch an operator's rule under vmap, as `torch.library.register_vmap` does, and under the older vmap too.

    The older one serves ``torch.autograd.functional.jacobian(vectorize=True)`` and ``is_grads_batched``.
    """
    torch.library.register_vmap(name, rule)

    def older(*arguments: Any) -> Any:
        level = torch._C._vmapmode_increment_nesting() - 1
        torch._C._vmapmode_decrement_nesting()
        leaves, structure = tree_flatten(arguments)
        is_batched = [isinstance(x, torch.Tensor) and _is_batched(x) for x in leaves]
        plain = [
            torch._remove_batch_dim(x, level, 1, 0) if batched else x
            for x, batched in zip(leaves, is_batched, strict=True)
        ]
        size = next(x.shape[0] for x, batched in zip(plain, is_batched, strict=True) if batched)
        in_dims = tree_unflatten([0 if batched else None for batched in is_batched], structure)
        results, dims = rule(SimpleNamespace(batch_size=size), in_dims, *tree_unflatten(plain, structure))
        if isinstance(results, torch.Tensor):
            return torch._add_batch_dim(results, dims, level)
        return type(results)(torch._add_batch_dim(x, dim, level) for x, dim in zip(results, dims, strict=True))

    namespace, operator = name.split("::")
    library = torch.library.Library(namespace, "IMPL")
    library.impl(operator, older, "Batched")
    _libraries.append(library)  # which undo what they did when they go


def vmap_rule(name: str) -> Callable[[Callable[..., Any]], None]:
    """Return a decorator that does what `register_vmap` does."""
    return functools.partial(register_vmap, name)


_libraries: list[Any] = []
_is_batched = torch._C._functorch.is_legacy_batchedtensor


def join_batch(size: int, x: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Make the axis of a vmap over ``size`` a part of the first axis, for operators with the batch first."""
    x = x.unsqueeze(0).expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.flatten(0, 1)


@contextlib.contextmanager
def use_cuda_on_cpu(library: str | Path) -> Iterator[None]:
    """Send CPU tensors to the CUDA kernels of ``library``, which was built for the host (for tests)."""
    global _cuda_on_cpu
    torch.ops.load_library(str(library))
    before, _cuda_on_cpu = _cuda_on_cpu, torch.ops.genimg_fast_cuda_on_cpu
    try:
        yield
    finally:
        _cuda_on_cpu = before
