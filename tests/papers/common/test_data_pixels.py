"""Area averaging is the mean over the area, and every set offers it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from papers.common.data import SETS, Dataset, Split, load
from papers.common.data.outline import reduced
from papers.common.data.pixels import area_average, decode, square
from papers.common.errors import UserError


@given(st.integers(1, 12), st.integers(1, 7), st.integers(0, 5))
def test_a_whole_ratio_is_the_mean_of_blocks(side, ratio, seed):
    images = np.random.default_rng(seed).integers(0, 256, (3, side * ratio, side * ratio, 3), dtype=np.uint8)
    total = images.reshape(3, side, ratio, side, ratio, 3).astype(np.int64).sum((2, 4))
    np.testing.assert_array_equal(area_average(images, side), (2 * total + ratio**2) // (2 * ratio**2))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_any_ratio_is_the_mean_over_the_area(old, new, seed):
    """Each pixel repeated `new` times has blocks of `old` under each new pixel."""
    image = np.random.default_rng(seed).integers(0, 256, (old, old, 3), dtype=np.uint8)
    fine = image.repeat(new, 0).repeat(new, 1).reshape(new, old, new, old, 3).astype(np.float64).mean((1, 3))
    found = area_average(image, new)
    assert np.abs(found - fine).max() <= 0.5 + 2e-3
    assert area_average(image, old).tolist() == image.tolist()


def test_many_images_are_resized_in_blocks_alike():
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(area_average(images, 8, block=3), area_average(images, 8))
    pillow = [np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)) for image in images]
    assert np.abs(area_average(images, 8).astype(int) - np.array(pillow)).max() <= 1  # which rounds twice


@pytest.mark.parametrize(("shape", "kept"), [((4, 8), (0, 2)), ((9, 4), (2, 0)), ((5, 5), (0, 0))])
def test_the_central_square(shape, kept):
    image = np.arange(shape[0] * shape[1]).reshape(*shape, 1).repeat(3, -1)
    side = min(shape)
    expected = image[kept[0] : kept[0] + side, kept[1] : kept[1] + side]
    np.testing.assert_array_equal(square(image), expected)


def test_transparency_is_dropped_without_a_word_and_a_broken_part_is_refused():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    transparent, plain = io.BytesIO(), io.BytesIO()
    palette = Image.fromarray(pixels).convert("P")
    palette.save(transparent, "PNG", transparency=bytes(range(200)))
    np.testing.assert_array_equal(decode(transparent.getvalue()), np.asarray(palette.convert("RGB")))
    Image.fromarray(pixels).save(plain, "PNG")
    content = bytearray(plain.getvalue())
    at = content.index(b"IDAT") - 4
    content[at : at + 4] = (int.from_bytes(content[at : at + 4]) - 20).to_bytes(4)  # what follows is no part
    with pytest.raises(ValueError, match="its parts are broken"):
        decode(bytes(content))


def test_a_set_is_reduced_in_both_splits_and_keeps_the_rest():
    train, test = (np.full((n, 64, 64, 3), n, np.uint8) for n in (4, 2))
    whole = Dataset(
        "toy", Split(train, np.zeros(4)), Split(test, np.zeros(2)), 2, 255.0, (0.1,) * 3, (1.0,) * 3, "none"
    )
    small = reduced(whole, 32)
    assert small.train.images.shape == (4, 32, 32, 3) and small.test.images.shape == (2, 32, 32, 3)
    assert (small.train.images == 4).all() and (small.test.images == 2).all()
    assert small.train.labels is whole.train.labels and small.mean == whole.mean
    assert reduced(whole, 64) is whole and reduced(whole, None) is whole


@pytest.mark.parametrize("name", ["cifar10", "tiny_imagenet"])
def test_published_sets_are_not_enlarged(tmp_path, name):
    own = {"cifar10": 32, "tiny_imagenet": 64}[name]
    for size in (own + 1, 7, 10**30):
        with pytest.raises(UserError, match=f"--size is {size}, but must be"):
            load(name, size=size, cache_dir=tmp_path, data_dir=tmp_path)


def test_every_command_line_offers_every_set(capsys):
    from papers.common import cli
    from papers.gradient_flow.training.config import TrainConfig as GradientFlow
    from papers.noether.figures import FiguresConfig
    from papers.noether.networks.config import TrainConfig
    from papers.noether.sweeps.config import SweepConfig

    for config_class in (TrainConfig, SweepConfig, FiguresConfig, GradientFlow):
        for name in SETS:
            assert cli.parse(config_class, "prog", argv=["--data", name]).data == name
    with pytest.raises(UserError, match=f"--data is mnist, but must be one of {', '.join(SETS)}"):
        cli.parse(TrainConfig, "prog", argv=["--data", "mnist"])
