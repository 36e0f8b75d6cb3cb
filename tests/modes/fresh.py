"""What a fresh process does first with an operation: compile it, whole, and export it. Arguments: a public name, and
how many of its first cases the default backend compiles too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from operations import OPERATIONS, Case, leaves


class _Module(torch.nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        return leaves(self.function(*inputs))


def _compiled(case: Case, **options: Any) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda *x: leaves(case.function(*x)), fullgraph=True, **options)
    found = compiled(*case.inputs)
    torch.testing.assert_close(found, leaves(case.function(*case.inputs)), rtol=1e-4, atol=1e-4, equal_nan=True)


def _compiled_with_gradients(case: Case, **options: Any) -> None:
    torch._dynamo.reset()

    def loss(*inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.nan_to_num().square().sum() for x in leaves(case.function(*inputs))]).sum()

    gradients = []
    for function in (torch.compile(loss, fullgraph=True, **options), loss):
        inputs = [x.clone().requires_grad_() for x in case.inputs]
        function(*inputs).backward()
        gradients.append([x.grad for x in inputs])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def _exported(case: Case) -> None:
    program = torch.export.export(_Module(case.function), case.inputs)
    torch.testing.assert_close(
        program.module()(*case.inputs), leaves(case.function(*case.inputs)), rtol=1e-4, atol=1e-4, equal_nan=True
    )


if __name__ == "__main__":
    name, by_default = sys.argv[1], int(sys.argv[2])
    for number, make in enumerate(OPERATIONS[name]):
        # Each case is new in each mode: what one made shall not serve the next.
        if number < by_default:
            _compiled(make(torch.float32))
        _compiled_with_gradients(make(torch.float32), backend="aot_eager")
        _exported(make(torch.float32))
        if number == 0:
            _compiled(make(torch.float32), backend="aot_eager", dynamic=True)
