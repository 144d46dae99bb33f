"""Photographs decoded as they are needed: the crops' law, the same batches by threads and by grain."""

import multiprocessing
import threading
import time
from pathlib import Path

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


ORDER = np.array([0, 5, 2, 7, 1, 3, 4])
"""Three batches, the last one of a single image."""


@pytest.fixture(params=["threads", "grain"])
def loader(request):
    """Each of the loaders that is installed."""
    if request.param == "grain":
        pytest.importorskip("grain", reason="grain is not installed: it is the extra imagenet")
    return request.param


def same(steps, others):
    return all(
        np.array_equal(images, wanted) and np.array_equal(labels, known) and images.dtype == np.uint8
        for (images, labels), (wanted, known) in zip(steps, others, strict=True)
    )


def test_crops_are_a_function_of_seed_step_and_place_whoever_reads_them(listing, loader):
    crops = RandomCrops(listing, 32, True, 1, 10, ORDER, 3)
    own = [crops[place] for place in range(7)]
    steps = list(batches(crops, loader))
    assert [labels.tolist() for _, labels in steps] == [[0, 1, 0], [1, 0, 0], [1]] and len(crops) == 7
    assert np.array_equal(np.concatenate([images for images, _ in steps]), np.stack([image for image, _ in own]))
    assert all(labels.dtype == np.int32 for _, labels in steps) and same(steps, batches(crops, "threads"))
    later = RandomCrops(listing, 32, True, 1, 11, ORDER[3:], 3)  # a run that goes on at the second step
    assert same(steps[1:], batches(later, loader))
    other = RandomCrops(listing, 32, True, 2, 10, ORDER, 3)
    assert not np.array_equal(next(batches(other, loader))[0], steps[0][0])
    mirrored = [image[0, 0, 0] > image[0, -1, 0] for image, _ in own]
    assert 0 < sum(mirrored) < 7
    assert not any(crop[0][0, 0, 0] > crop[0][0, -1, 0] for crop in RandomCrops(listing, 32, False, 1, 10, ORDER, 3))


def test_a_loader_that_is_closed_ends_its_threads_and_a_broken_photograph_is_named(tmp_path, loader):
    for label in range(2):
        (tmp_path / f"n{label}").mkdir()
        for number in range(10):
            Image.new("RGB", (40, 40)).save(tmp_path / f"n{label}" / f"{number}.jpg")
    listing, before = read_listing(tmp_path), threading.active_count()
    crops = RandomCrops(listing, 32, True, 0, 0, np.arange(16), 4)
    steps = batches(crops, loader)
    next(steps)
    steps.close()
    patience = time.monotonic() + 20  # grain tells its threads to end and does not wait for them
    while threading.active_count() > before and time.monotonic() < patience:
        time.sleep(0.01)
    assert threading.active_count() <= before and multiprocessing.active_children() == []
    broken = listing.root / listing.files["train"][9]
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UserError, match=rf"{broken} is no image .*: mend it, or take it out of the folder"):
        list(batches(crops, loader))


def test_central_crops_and_a_loader_that_is_not_installed(listing, monkeypatch):
    images = CentralCrops(listing, np.array([1, 4]), 56)[np.array([1, 0])]
    assert images.shape == (2, 56, 56, 3) and images[:, 0, 0, 2].tolist() == [200, 0]
    assert np.abs(images[0, 3, :, 0].astype(int) - 2 * np.arange(20, 76)).max() <= 1  # 96 x 64 stays, 256/224 of 56
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs grain: pip install"):
        require_loader("grain")
    require_loader("threads")
