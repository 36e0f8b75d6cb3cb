"""The spatial pyramid's CUDA launchers, without torch: values, launches, any order of blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from kernel_library import KernelLibrary, built_folder
from steerable_space import Pyramid, analysis, exercise, random_image, synthesis


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_launchers.so")
    yield library
    library.reverse_order(False)
    library.free()


def test_values(kernels: KernelLibrary) -> None:
    exercise(kernels)


def test_one_launch_a_level(kernels: KernelLibrary) -> None:
    pyramid = Pyramid(40, 36, 2, 5)
    image = random_image(kernels, pyramid, 3, np.float32)
    launches = kernels.launch_count()
    coefficients = analysis(kernels, pyramid, image)
    assert kernels.launch_count() == launches + 3
    synthesis(kernels, pyramid, coefficients)
    assert kernels.launch_count() == launches + 6


def test_the_order_of_blocks_does_not_matter(kernels: KernelLibrary) -> None:
    pyramid = Pyramid(70, 75, 2, 3, "reflect2")
    image = random_image(kernels, pyramid, 2, np.float32)
    coefficients = analysis(kernels, pyramid, image)
    back = synthesis(kernels, pyramid, coefficients)
    kernels.reverse_order(True)
    for part, again in zip(coefficients, analysis(kernels, pyramid, image), strict=True):
        np.testing.assert_array_equal(part, again)
    np.testing.assert_array_equal(synthesis(kernels, pyramid, coefficients), back)
