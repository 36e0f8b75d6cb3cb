"""CNN textures to a fixed loss beside a plain PyTorch script of Gatys' form, and one step beside the same with torch's
Gram.

The script uses the same feature network and the same loss, from white noise at full size, with torch's L-BFGS;
agreement is asserted in what counts, the loss of both results, measured in plain lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import genimg_fast as gf

from .common import interleaved

SIZE, LOSS = 256, 5e-4

Maps = dict[str, torch.Tensor]


def run(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Return the rows of the table; see common.py."""
    from skimage import data

    pictures = {"gravel": data.gravel(), "grass": data.grass(), "brick": data.brick()}
    names = ["gravel"] if quick else list(pictures)
    rows = [_synthesis(name, _tensor(pictures[name]), 3 if quick else 10) for name in names]
    try:
        features = gf.features.hed_vgg16()
    except (FileNotFoundError, ImportError):
        return rows
    rows.append(_step(features, _tensor(pictures["gravel"]).expand(3, -1, -1).contiguous(), 3 if quick else 10))
    return rows


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels[:SIZE, :SIZE].astype(np.float32) / 255)[None]


def _synthesis(name: str, exemplar: torch.Tensor, seconds: float) -> dict[str, Any]:
    """Time until the loss is at LOSS."""
    features = gf.features.random(channels=1, normalize=exemplar)

    def ours() -> torch.Tensor:
        return gf.textures.cnn_texture(
            exemplar, features=features, seed=0, n_iter=60, tolerance=LOSS, match_histogram=False, progress=False
        )

    def plain() -> torch.Tensor:
        return plain_script(exemplar, features)

    candidates: dict[str, Callable[[], torch.Tensor]] = {"ours": ours, "torch": plain}
    reached = {label: loss_of(make(), exemplar, features) for label, make in candidates.items()}
    assert max(reached.values()) <= 1.001 * LOSS, reached
    times = interleaved(candidates, seconds)
    return {
        "family": "cnn_texture",
        "case": f"{name}, {SIZE} px grey, random features",
        "what": f"cnn_texture to a loss of {LOSS:g}",
        "seconds": times["ours"],
        "peer_seconds": {"a plain torch script": times["torch"]},
        "floor_seconds": None,
        "note": "losses reached: " + ", ".join(f"{label} {value:.2g}" for label, value in reached.items()),
    }


def grams(maps: Maps) -> Maps:
    """Return the Gram matrices of maps (1, C, H, W), in torch's products."""
    flat = {name: part[0].flatten(1) for name, part in maps.items()}
    return {name: f @ f.mT / f.shape[1] for name, f in flat.items()}


def difference(found: Maps, wanted: Maps) -> torch.Tensor:
    """Return the loss: the mean over layers of the relative mean square difference."""
    parts = [(found[name] - gram).square().mean() / gram.square().mean() for name, gram in wanted.items()]
    return torch.stack(parts).mean()


def loss_of(result: torch.Tensor, exemplar: torch.Tensor, features: Any) -> float:
    with torch.no_grad():
        return float(difference(grams(features(result[None])), grams(features(exemplar[None]))))


def plain_script(exemplar: torch.Tensor, features: Any) -> torch.Tensor:
    """Descend from white noise until the loss is at LOSS. (Without a line search torch's L-BFGS does not get there.)"""
    with torch.no_grad():
        wanted = grams(features(exemplar[None]))
    noise = torch.randn(1, *exemplar.shape, generator=torch.Generator().manual_seed(0))
    x = (exemplar.mean() + exemplar.std() * noise).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=1000, history_size=20, line_search_fn="strong_wolfe", tolerance_change=0
    )
    best: list[torch.Tensor] = []

    class Done(Exception):  # noqa: N818
        pass

    def closure() -> float:
        optimizer.zero_grad()
        loss = difference(grams(features(x)), wanted)
        loss.backward()
        if loss.item() <= LOSS:
            best.append(x.detach()[0].clone())
            raise Done
        return loss.item()

    try:
        optimizer.step(closure)
    except Done:
        return best[0]
    return x.detach()[0]


def _step(features: Any, exemplar: torch.Tensor, seconds: float) -> dict[str, Any]:
    """One evaluation of loss and gradient with a deep network, and the share of the Gram matrices in it."""
    with torch.no_grad():
        wanted = grams(features(exemplar[None]))
    factors = [1 / (len(wanted) * float(gram.square().mean())) for gram in wanted.values()]
    targets = [gram[None] for gram in wanted.values()]
    x = torch.rand(1, *exemplar.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    maps = {name: part.detach().requires_grad_() for name, part in features(x).items()}

    def ours(of: Maps) -> torch.Tensor:
        return gf.gram_loss(list(of.values()), targets, weights=factors)

    def usual(of: Maps) -> torch.Tensor:
        return difference(grams(of), wanted)

    def step(loss: Callable[[Maps], torch.Tensor]) -> torch.Tensor:
        return torch.autograd.grad(loss(features(x)), x)[0]

    def alone(loss: Callable[[Maps], torch.Tensor]) -> Any:
        return torch.autograd.grad(loss(maps), list(maps.values()))

    torch.testing.assert_close(step(ours), step(usual), rtol=1e-3, atol=1e-4 * step(usual).abs().max().item())
    times = interleaved(
        {
            "ours": lambda: step(ours),
            "torch": lambda: step(usual),
            "ours, Gram alone": lambda: alone(ours),
            "torch, Gram alone": lambda: alone(usual),
        },
        seconds,
    )
    shares = {label: times[f"{label}, Gram alone"] / times[label] for label in ("ours", "torch")}
    return {
        "family": "cnn_texture",
        "case": f"{SIZE} px colour, hed_vgg16",
        "what": "loss and gradient of the picture",
        "seconds": times["ours"],
        "peer_seconds": {"the same with torch's Gram": times["torch"]},
        "floor_seconds": None,
        "note": f"share of Gram matrices and loss: {shares['ours']:.0%}, with torch's {shares['torch']:.0%}",
    }
