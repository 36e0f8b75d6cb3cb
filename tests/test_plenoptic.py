"""What plenoptic's plots, syntheses and subclasses ask of a model or a pyramid, with ours in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

import genimg_fast as gf

plt = pytest.importorskip("matplotlib.pyplot")

SHAPE = (64, 48)


@pytest.fixture
def plenoptic() -> Iterator[Any]:
    package = pytest.importorskip("plenoptic")
    backend = plt.get_backend()
    plt.switch_backend("agg")
    yield package
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))


def model(**options: Any) -> gf.textures.PortillaSimoncelli:
    return gf.textures.PortillaSimoncelli(SHAPE, n_scales=2, n_orientations=3, masks="lut", **options)


def stems(axes: Any) -> list[tuple[str, np.ndarray]]:
    return [(ax.get_title(), ax.containers[0].markerline.get_ydata()) for ax in axes]


@pytest.mark.peer
@pytest.mark.parametrize("n_scales", [1, 2])
def test_the_plot_of_statistics_is_plenoptics(plenoptic: Any, image: torch.Tensor, n_scales: int) -> None:
    options = {"n_scales": n_scales, "n_orientations": 3}
    ours = gf.textures.PortillaSimoncelli(SHAPE, **options, masks="lut")
    theirs = plenoptic.models.PortillaSimoncelli(SHAPE, **options)
    scales = theirs._representation_scales
    assert ours._representation_scales.tolist() == scales.tolist()
    data = theirs(image)
    for given in (data, theirs.convert_to_dict(data)):
        figure, axes = ours.plot_representation(given, batch_idx=1, title="both")
        expected = theirs.plot_representation(data, batch_idx=1)[1]
        assert figure.get_suptitle() == "both"
        for (title, found), (other, wanted) in zip(stems(axes), stems(expected), strict=True):
            assert title == other
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert not np.allclose(stems(axes)[0][1], stems(ours.plot_representation(data)[1])[0][1])  # another picture


@pytest.mark.peer
def test_plenoptics_own_plots_use_ours(plenoptic: Any, image: torch.Tensor) -> None:
    ours, other = model(), torch.flip(image, [-1]).sqrt()
    axes = plenoptic.plot.plot_representation(ours, ours(image))
    assert len(axes) == 8
    artists = plenoptic.plot.update_plot(axes, ours(other), model=ours)
    assert len(artists) == 16
    for (_, found), (_, wanted) in zip(stems(axes), stems(ours.plot_representation(ours(other))[1]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    figure, place = plt.subplots()
    inside, _ = ours.plot_representation(ours(image), ax=place)
    assert inside is figure


@pytest.mark.peer
def test_plenoptics_syntheses_and_their_plots_run_with_ours(plenoptic: Any) -> None:
    target = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    ours = gf.textures.PortillaSimoncelli((64, 64), n_scales=2, n_orientations=2)
    metamer = plenoptic.MetamerCTF(target, ours, loss_function=plenoptic.loss.l2_norm, coarse_to_fine="together")
    metamer.setup(target.flip(-1))
    metamer.synthesize(max_iter=6, change_scale_criterion=None, ctf_iters_to_check=1)
    assert metamer.losses[-1] < metamer.losses[0]
    axes = plenoptic.plot.metamer_representation_error(metamer)
    assert len(axes) == 8
    assert len(plenoptic.plot.synthesis_status(metamer).axes) > 8


@pytest.mark.peer
def test_a_coarse_to_fine_subclass_selects_by_representation_scales(plenoptic: Any, image: torch.Tensor) -> None:
    """As plenoptic's own remove_scales does."""
    ours = model()
    kept = [1, "residual_lowpass"]
    index = np.where(np.isin(ours._representation_scales, np.array(kept, object)))[0]
    assert 0 < len(index) < ours(image).shape[-1]
    assert torch.equal(ours(image)[..., index], ours(image, scales=kept))


def test_a_plot_is_refused_by_name(image: torch.Tensor) -> None:
    plt.switch_backend("agg")
    ours = model()
    data = ours.convert_to_dict(ours(image))
    with pytest.raises(ValueError, match=r"^plot_representation: figsize must be None where ax is given"):
        ours.plot_representation(data, ax=plt.figure().add_subplot(), figsize=(3, 3))
    with pytest.raises(ValueError, match="got 'more' too"):
        ours.plot_representation(data | {"more": data["magnitude_std"]})
    data.pop("magnitude_std")
    with pytest.raises(KeyError, match=r"data must hold 'magnitude_std'"):
        ours.plot_representation(data)
    figure, axes = ours.plot_representation(ours(image), figsize=(3, 4), ylim=(-1, 2))
    assert tuple(figure.get_size_inches()) == (3, 4)
    assert {ax.get_ylim() for ax in axes} == {(-1, 2)}
    with pytest.raises(ValueError, match=r"^update_plot: axes must be the 8"):
        ours.update_plot(axes[:3], ours(image))
    ours.update_plot(axes, ours(image), rescale_ylim=True)
    assert len({ax.get_ylim() for ax in axes}) == 1
    plt.close("all")


PYRAMIDS: list[dict[str, Any]] = [
    {"order": 3},
    {"order": 2, "is_complex": True},
    {"order": 1, "twidth": 2, "height": 2},
    {"order": 0, "height": 2, "downsample": False},
    {"order": 3, "is_complex": True, "downsample": False, "height": 3},
]


@pytest.mark.peer
@pytest.mark.parametrize("shape", [(64, 48), (33, 50)])
@pytest.mark.parametrize("options", PYRAMIDS)
def test_masks_in_tables_are_plenoptics_buffers(plenoptic: Any, shape: Any, options: dict[str, Any]) -> None:
    # It warns of odd sizes, which its reconstruction does not serve.
    with pytest.warns(UserWarning, match="odd-sized") if shape[0] % 2 else nullcontext():
        theirs = plenoptic.process.SteerablePyramidFreq(shape, **options)
    ours, exact = (gf.nn.SteerablePyramidFreq(shape, **options, masks=masks) for masks in ("lut", "exact"))
    buffers = dict(theirs.named_buffers())
    assert len(buffers) == 2 + 4 * theirs.num_scales
    for name, buffer in buffers.items():
        found = getattr(ours, name)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, buffer, rtol=0, atol=1e-6, msg=name)
        if not shape[0] % 2 and not (name.startswith("_angle") and theirs.is_complex):
            # Where the table has its edges, and at frequency 0, which has no angle.
            differs = (getattr(exact, name) - buffer).abs() > 1e-3
            assert int(differs.sum()) <= 2 * buffer.shape[-3:].numel() // buffer.shape[-1], name


@pytest.mark.parametrize("masks", ["exact", "lut"])
@pytest.mark.parametrize("shape", [(64, 48), (32, 32)])
def test_masks_are_those_of_the_coefficients(masks: str, shape: Any) -> None:
    """Residual and first octave by plain transforms."""
    pyramid = gf.nn.SteerablePyramidFreq(shape, height=2, order=3, masks=masks)
    x = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))
    coefficients = pyramid(x)

    def picture(spectrum: torch.Tensor) -> torch.Tensor:
        return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real

    highpass = picture(spectrum * pyramid.hi0mask)
    bands = picture(
        (-1j) ** 3 * spectrum[:, :, None] * pyramid.lo0mask * pyramid._himasks_scale_0 * pyramid._anglemasks_scale_0
    )
    torch.testing.assert_close(coefficients["residual_highpass"], highpass, rtol=0, atol=1e-6)
    torch.testing.assert_close(coefficients[0], bands, rtol=0, atol=1e-6)


def test_a_pyramid_has_no_masks_of_scales_that_it_has_not() -> None:
    pyramid = gf.nn.SteerablePyramidFreq((32, 32), height=2)
    assert hasattr(pyramid, "_himasks_scale_1")
    assert not hasattr(pyramid, "_himasks_scale_2")
    assert not hasattr(pyramid, "mid0mask")
    assert not list(pyramid.buffers())
