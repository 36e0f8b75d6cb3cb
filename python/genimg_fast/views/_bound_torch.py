"""Constants of views as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from genimg_fast.views._bound import Constant


class Tensors:
    """A constant's tensors, one for each dtype and device."""

    def __init__(self, constant: Constant) -> None:
        self._constant = constant
        self._tensors: dict[tuple[torch.dtype, torch.device], torch.Tensor] = {}

    @torch.compiler.assume_constant_result  # compilers take the tensor as it is: arrays they cannot follow
    def on(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        key = dtype, device
        if key not in self._tensors:
            values = self._constant.values
            with torch.inference_mode(False):  # what is kept may be asked for a gradient later
                self._tensors[key] = torch.from_numpy(values).to(device, None if values.dtype.kind == "i" else dtype)
        return self._tensors[key]
