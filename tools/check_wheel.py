"""Checks an installed genimg_fast in a bare environment: both doors compute and invert. Needs no test tools.

With the argument "cuda" the wheel must carry the CUDA library.
"""

from __future__ import annotations

import subprocess
import sys

NUMPY_ALONE = """
import sys
import numpy as np
import genimg_fast as gf
image = np.random.default_rng(0).random((48, 60), dtype=np.float32)
pyramid = gf.SteerablePyramidFreq(image.shape, height=2)
error = np.abs(pyramid.recon_pyr(pyramid(image)) - image).max()
assert error < 5e-6, error
matched = gf.match_histograms(image, image[::-1] ** 2, method="rank")
assert np.array_equal(np.sort(matched, None), np.sort(image**2, None))
assert "torch" not in sys.modules
"""


def main() -> None:
    subprocess.run([sys.executable, "-c", NUMPY_ALONE], check=True)
    import torch

    import genimg_fast as gf

    image = torch.rand(3, 48, 60, generator=torch.Generator().manual_seed(0))
    for pyramid in (gf.SteerablePyramidFreq((48, 60), height=2), gf.SteerablePyramidFreq((48, 60), 2, is_complex=True)):
        for door in (image, image.numpy()):
            error = abs(pyramid.recon_pyr(pyramid(door)) - door).max()
            assert error < 5e-6, f"reconstruction error {error}"
    texture = gf.textures.heeger_bergen(image[0].numpy(), size=(32, 40), n_iter=2, height=2, seed=0, progress=False)
    assert texture.shape == (32, 40), texture.shape
    info = gf.build_info()
    print(info)
    if sys.argv[1:] == ["cuda"] and not info["built_with_cuda"]:
        sys.exit("the wheel was built where nvcc is, and carries no CUDA library")


if __name__ == "__main__":
    main()
