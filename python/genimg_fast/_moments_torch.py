"""Roots of covariance matrices, with derivatives of any order that equal and vanishing eigenvalues leave finite."""

from __future__ import annotations

from typing import Any

import torch

Tensor = torch.Tensor


def double(x: Tensor) -> Tensor:
    return x.double()


def cast(x: Tensor, other: Tensor) -> Tensor:
    """Return a scalar in the dtype of another tensor."""
    return x.to(other.dtype)


def constant(x: Tensor, other: Tensor) -> Tensor:
    """Return a target in the dtype of another tensor, without a gradient."""
    return x.detach().to(other.dtype)


def root(matrix: Tensor) -> Tensor:
    """Return the symmetric root of symmetric matrices (..., C, C) without negative eigenvalues."""
    return _Root.apply(matrix)[0]


# The differential X of a root R obeys R X + X R = dM: with R's eigenvalues r, X_ij = dM_ij / (r_i + r_j) in its axes,
# where no difference of eigenvalues appears. The operator is its own adjoint, and its own derivative is made of it.


class _Root(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        roots = values.clamp(min=0).sqrt()
        return (vectors * roots[..., None, :]) @ vectors.mT, roots, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Tensor:
        root, roots, vectors = ctx.saved_tensors
        return _Lyapunov.apply(root, grad, roots, vectors)


class _Lyapunov(torch.autograd.Function):
    """Solve R X + X R = G for symmetric X, of the symmetric part of G; 0 in directions where R is 0 on both sides."""

    generate_vmap_rule = True

    @staticmethod
    def forward(root: Tensor, right: Tensor, roots: Tensor, vectors: Tensor) -> Tensor:
        sums = roots[..., :, None] + roots[..., None, :]
        inner = vectors.mT @ (right + right.mT) @ vectors / 2
        return vectors @ torch.where(sums > 0, inner / sums, 0) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        root, _, roots, vectors = inputs
        ctx.save_for_backward(root, output, roots, vectors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        root, solution, roots, vectors = ctx.saved_tensors
        to_right = _Lyapunov.apply(root, grad, roots, vectors)
        product = to_right @ solution
        return -(product + product.mT), to_right, None, None
