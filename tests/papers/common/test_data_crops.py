"""Photographs decoded as they are needed: the crops' law, the same batches by threads and by grain's interface."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from papers.common.data.crops import AREA, RATIO, CentralCrops, RandomCrops, batches, random_box, require_loader
from papers.common.data.folder import read_listing
from papers.common.errors import UserError


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    """Columns of a photograph are as bright as they are far to the right; two classes, told apart by blue."""
    root: Path = tmp_path_factory.mktemp("photographs")
    for split, each in (("train", 4), ("val", 3)):
        for label in range(2):
            folder = root / split / f"n{label}"
            folder.mkdir(parents=True)
            for number in range(each):
                image = np.zeros((64, 96, 3), np.uint8)
                image[..., 0], image[..., 2] = 2 * np.arange(96)[None], 200 * label
                Image.fromarray(image).save(folder / f"{number}.png")
    return read_listing(root)


def test_random_boxes_have_areas_and_ratios_as_published_and_a_narrow_photograph_its_middle():
    random = np.random.default_rng(0)
    boxes = np.array([random_box(300, 400, random) for _ in range(2000)])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() == 0 and boxes[:, 2].max() == 400 and boxes[:, 3].max() == 300
    area, ratio = wide * high / (300 * 400), wide / high
    assert AREA[0] * 0.98 < area.min() and area.max() <= 1 and np.all(np.diff(np.sort(area)) < 0.02)
    assert RATIO[0] * 0.98 < ratio.min() and ratio.max() < RATIO[1] * 1.02
    assert random_box(10, 1000, random) == (493, 0, 506, 10)


def test_crops_are_a_function_of_seed_step_and_place_whoever_reads_them(listing, monkeypatch):
    indices = np.array([[0, 5, 2], [7, 1, 3]])
    crops = RandomCrops(listing, 32, True, 1, 10, indices)
    own = [crops[place] for place in range(6)]
    steps = list(batches(crops, "threads"))
    assert [labels.tolist() for _, labels in steps] == [[0, 1, 0], [1, 0, 0]] and len(crops) == 6
    assert np.array_equal(np.concatenate([images for images, _ in steps]), np.stack([image for image, _ in own]))
    later = RandomCrops(listing, 32, True, 1, 11, indices[1:])  # a run that goes on at the second step
    assert np.array_equal(next(batches(later, "threads"))[0], steps[1][0])
    mirrored = [image[0, 0, 0] > image[0, -1, 0] for image, _ in own]
    assert 0 < sum(mirrored) < 6
    assert not any(crop[0][0, 0, 0] > crop[0][0, -1, 0] for crop in RandomCrops(listing, 32, False, 1, 10, indices))

    class Batched(list):  # the part of grain's interface that is called, as its documentation has it
        def batch(self, size):
            rows = [self[first : first + size] for first in range(0, len(self), size)]
            return Batched(tuple(map(np.stack, zip(*row, strict=True))) for row in rows)

        def to_iter_dataset(self):
            return iter(self)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    stub = SimpleNamespace(MapDataset=SimpleNamespace(source=lambda source: Batched(source)))
    monkeypatch.setitem(sys.modules, "grain", stub)
    for (images, labels), (wanted, known) in zip(batches(crops, "grain"), steps, strict=True):
        assert np.array_equal(images, wanted) and np.array_equal(labels, known)


def test_central_crops_and_a_loader_that_is_not_installed(listing, monkeypatch):
    images = CentralCrops(listing, np.array([1, 4]), 56)[np.array([1, 0])]
    assert images.shape == (2, 56, 56, 3) and images[:, 0, 0, 2].tolist() == [200, 0]
    assert np.abs(images[0, 3, :, 0].astype(int) - 2 * np.arange(20, 76)).max() <= 1  # 96 x 64 stays, 256/224 of 56
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs grain: pip install"):
        require_loader("grain")
    require_loader("threads")
