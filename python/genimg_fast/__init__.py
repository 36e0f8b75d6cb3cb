"""The operations under fifty years of image synthesis, as fast, exact, differentiable kernels.

Operations take a ``torch.Tensor`` or a ``numpy.ndarray`` and return the same kind. Work on arrays never imports torch.

>>> import genimg_fast as gf
>>> coefficients = gf.SteerablePyramidFreq(image.shape)(image)
>>> matched = gf.match_histograms(image, reference)
>>> texture = gf.textures.heeger_bergen(image, size=(512, 512), seed=0)
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import genimg_fast._numpy as _numpy
from genimg_fast._core.public import directory

if TYPE_CHECKING:
    from genimg_fast import diffusion, distributed, features, nn, plot, style, textures, views
    from genimg_fast._build_info import build_info
    from genimg_fast._moments import Moments, moments, moments_loss
    from genimg_fast._multiview_step import MultiViewStep
    from genimg_fast.gram import gram_loss, gram_matrix
    from genimg_fast.histogram import HistogramReference, match_histograms, sliced_wasserstein_loss
    from genimg_fast.multiview import apply_views, reduce_views
    from genimg_fast.steerable.freq import SteerablePyramidFreq
    from genimg_fast.steerable.space import SteerablePyramidSpace
    from genimg_fast.views import Permute, View, Views, check_view, view

__version__: str = _numpy.version

for _message in _numpy.environment_warnings():
    warnings.warn(_message, UserWarning, stacklevel=2)

# Loaded at first use, so that `import genimg_fast` costs little more than `import numpy`.
_HOME = {
    "HistogramReference": "histogram",
    "MultiViewStep": "_multiview_step",
    "Moments": "_moments",
    "Permute": "views",
    "SteerablePyramidFreq": "steerable.freq",
    "SteerablePyramidSpace": "steerable.space",
    "View": "views",
    "Views": "views",
    "apply_views": "multiview",
    "build_info": "_build_info",
    "check_view": "views",
    "gram_loss": "gram",
    "gram_matrix": "gram",
    "match_histograms": "histogram",
    "moments": "_moments",
    "moments_loss": "_moments",
    "reduce_views": "multiview",
    "sliced_wasserstein_loss": "histogram",
    "view": "views",
}
_MODULES = ("diffusion", "distributed", "features", "nn", "plot", "style", "textures", "views")

__all__ = [
    "HistogramReference",
    "Moments",
    "MultiViewStep",
    "Permute",
    "SteerablePyramidFreq",
    "SteerablePyramidSpace",
    "View",
    "Views",
    "apply_views",
    "build_info",
    "check_view",
    "diffusion",
    "distributed",
    "features",
    "get_num_threads",
    "gram_loss",
    "gram_matrix",
    "match_histograms",
    "moments",
    "moments_loss",
    "nn",
    "plot",
    "reduce_views",
    "set_num_threads",
    "sliced_wasserstein_loss",
    "style",
    "textures",
    "view",
    "views",
]


def set_num_threads(n: int) -> None:
    """Set how many threads operations on NumPy arrays use (tensors use torch's own: ``torch.set_num_threads``).

    The default is the environment variable ``GENIMG_FAST_NUM_THREADS``, else the number of processors this process may
    use. A call starts no more threads than it has work for. Results are the same bits for any number.

    Raises:
        TypeError: ``n`` is not an integer.
        ValueError: ``n`` is not from 1 to 1024.
    """
    from genimg_fast._core.backend import integer

    _numpy.set_num_threads(integer("set_num_threads", "n", n, 1, _numpy.max_num_threads))


def get_num_threads() -> int:
    """Return how many threads operations on NumPy arrays use."""
    return _numpy.get_num_threads()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"genimg_fast.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"genimg_fast.{name}")
    else:
        raise AttributeError(f"module 'genimg_fast' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return directory(globals())
