"""The frequency-domain pyramid's CUDA launchers, without torch: values, one launch, any order of blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from kernel_library import KernelLibrary, built_folder
from steerable_freq import Pyramid, analysis, expected_analysis, random_spectrum, synthesis

PYRAMIDS = [
    Pyramid(16, 16),
    Pyramid(15, 17, levels=3, order=2),
    Pyramid(24, 10, levels=1, order=0, analytic=True),
    Pyramid(20, 36, levels=2, order=5, analytic=True, twidth=0.6),
    Pyramid(12, 12, levels=2, order=1, oversampling=2),
    Pyramid(27, 40, levels=3, order=1, analytic=True, oversampling=1),
    Pyramid(9, 14, levels=0),
    Pyramid(64, 40, levels=4, order=3, twidth=2.5),
]


@pytest.fixture
def kernels() -> Iterator[KernelLibrary]:
    library = KernelLibrary(built_folder() / "libcuda_on_cpu_launchers.so")
    yield library
    library.reverse_order(False)
    library.free()


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("pyramid", PYRAMIDS, ids=str)
@pytest.mark.parametrize("batch", [1, 6])
def test_analysis_in_one_launch(kernels: KernelLibrary, pyramid: Pyramid, batch: int, dtype: type) -> None:
    spectrum = random_spectrum(kernels, pyramid, batch, dtype)
    launches = kernels.launch_count()
    got = analysis(kernels, pyramid, spectrum)
    assert kernels.launch_count() == launches + 1
    want = expected_analysis(pyramid, spectrum.astype(np.complex128))
    tolerance = 3e-6 if dtype == np.complex64 else 1e-13
    for ours, expected in zip(got.all(), want.all(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(spectrum).max())


@pytest.mark.parametrize("lut", [False, True])
@pytest.mark.parametrize("pyramid", PYRAMIDS, ids=str)
def test_synthesis_is_the_adjoint_in_one_launch(kernels: KernelLibrary, pyramid: Pyramid, lut: bool) -> None:
    pyramid = Pyramid(**{**vars(pyramid), "lut": lut})
    spectrum = random_spectrum(kernels, pyramid, 5, np.complex128)
    forward = analysis(kernels, pyramid, spectrum)
    rng = np.random.default_rng(1)
    for part in forward.all():
        assert np.isfinite(part).all()
    images_side = sum(np.vdot(part, part).real for part in forward.all())
    launches = kernels.launch_count()
    back = synthesis(kernels, pyramid, forward)
    assert kernels.launch_count() == launches + 1
    # <A x, A x> = <x, A* A x>
    np.testing.assert_allclose(np.vdot(spectrum, back).real, images_side, rtol=1e-12)
    for part in forward.all():
        part[...] = rng.standard_normal(part.shape) + 1j * rng.standard_normal(part.shape)
    left = sum(np.vdot(a, b) for a, b in zip(forward.all(), analysis(kernels, pyramid, spectrum).all(), strict=True))
    np.testing.assert_allclose(np.vdot(synthesis(kernels, pyramid, forward), spectrum), left, rtol=1e-10)


def test_perfect_reconstruction(kernels: KernelLibrary) -> None:
    pyramid = Pyramid(48, 31, levels=3)
    spectrum = random_spectrum(kernels, pyramid, 2, np.complex128)
    coefficients = analysis(kernels, pyramid, spectrum)
    for reconstruction in coefficients.reconstructions:
        reconstruction[...] = 0
    np.testing.assert_allclose(synthesis(kernels, pyramid, coefficients), spectrum, atol=1e-11)


@pytest.mark.parametrize("lut", [False, True])
def test_the_order_of_blocks_does_not_matter(kernels: KernelLibrary, lut: bool) -> None:
    pyramid = Pyramid(40, 33, levels=2, analytic=True, lut=lut)
    spectrum = random_spectrum(kernels, pyramid, 9, np.complex64)
    forward = analysis(kernels, pyramid, spectrum)
    back = synthesis(kernels, pyramid, forward)
    kernels.reverse_order(True)
    for part, again in zip(forward.all(), analysis(kernels, pyramid, spectrum).all(), strict=True):
        np.testing.assert_array_equal(part, again)
    np.testing.assert_array_equal(synthesis(kernels, pyramid, forward), back)
