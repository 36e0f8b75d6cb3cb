"""Roots of covariance matrices, with derivatives of any order that equal and vanishing eigenvalues leave finite."""

from __future__ import annotations

from typing import Any

import torch

from genimg_fast import _torch

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
    return _torch.call(_Root, matrix)[0]


# The differential X of a root R obeys R X + X R = dM: with R's eigenvalues r, X_ij = dM_ij / (r_i + r_j) in its axes,
# where no difference of eigenvalues appears. The operator is its own adjoint, and its own derivative is made of it.


class _Root(_torch.Function):
    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        roots = values.clamp(min=0).sqrt()
        return (vectors * roots[..., None, :]) @ vectors.mT, roots, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        _torch.save(ctx, *output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Tensor:
        root, roots, vectors = ctx.saved_tensors
        return _torch.call(_Lyapunov, root, grad, roots, vectors)

    @staticmethod
    def tangent(ctx: Any, dmatrix: Tensor) -> tuple[Tensor, None, None]:
        root, roots, vectors = ctx.saved_tensors
        return _torch.call(_Lyapunov, root, dmatrix, roots, vectors), None, None


class _Lyapunov(_torch.Function):
    """Solve R X + X R = G for symmetric X, of the symmetric part of G; 0 in directions where R is 0 on both sides."""

    @staticmethod
    def forward(root: Tensor, right: Tensor, roots: Tensor, vectors: Tensor) -> Tensor:
        sums = roots[..., :, None] + roots[..., None, :]
        inner = vectors.mT @ (right + right.mT) @ vectors / 2
        return vectors @ torch.where(sums > 0, inner / sums, 0) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        root, _, roots, vectors = inputs
        _torch.save(ctx, root, output, roots, vectors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        root, solution, roots, vectors = ctx.saved_tensors
        to_right = _torch.call(_Lyapunov, root, grad, roots, vectors)
        product = to_right @ solution
        return -(product + product.mT), to_right, None, None

    @staticmethod
    def tangent(ctx: Any, droot: Tensor | None, dright: Tensor | None, *_: Any) -> Tensor:
        root, solution, roots, vectors = ctx.saved_tensors
        product = 0 if droot is None else droot @ solution + solution @ droot
        right = -product if dright is None else dright - product
        return _torch.call(_Lyapunov, root, right, roots, vectors)
