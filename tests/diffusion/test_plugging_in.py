"""The code of docs/multiview-diffusers.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import genimg_fast as gf

diffusers = pytest.importorskip("diffusers")

from test_deepfloyd import stage  # noqa: E402
from tiny_pipelines import normal, plain_unet  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "multiview-diffusers.md"
BLOCKS = dict(re.findall(r"<!-- tested: (\w+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL))


def run(name: str, **given):
    exec(BLOCKS[name], {"gf": gf, "torch": torch}, given)
    return given


def test_network():
    pipe = diffusers.DDIMPipeline(plain_unet(out=3, num_class_embeds=10), diffusers.DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    assert run("network", pipe=pipe, size=8)["pictures"].shape == (4, 8, 8, 3)


def test_deepfloyd():
    text = normal(2, 5, 8)
    found = run(
        "deepfloyd", stage_1=stage(), stage_2=stage(True), prompt_embeds=text, negative_prompt_embeds=text[:1] * 0
    )
    assert found["large"].images.shape == (1, 3, 8, 8)
    assert len(found["small"].previews) == 2


def test_denoiser():
    views = gf.Views(["identity", "rotate_180"], (3, 8, 8))
    found = run(
        "denoiser", views=views, denoise=lambda x, sigma, cond: x * 0 + cond[:, :, None, None], x=normal(2, 3, 8, 8),
        prompts=torch.tensor([[1.0] * 3, [3.0] * 3]), nothing=torch.zeros(1, 3), sigma=torch.ones(2),
    )  # fmt: skip
    assert torch.allclose(found["denoised"], torch.tensor(10.0))  # 5 times the mean of 1 and 3


def test_all_blocks_are_tested():
    assert len(BLOCKS) == PAGE.read_text().count("```python") == 3
