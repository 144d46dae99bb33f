"""Photographs decoded as they are needed: random crops to train on, the same whoever reads them; central ones to judge.

A crop is a function of (seed, step, place in the batch), so a run that goes on draws what it would have drawn, and
threads or grain, which decode ahead of the step, give the same batches. Both decode in threads of this process, each
about 700 crops of 224 pixels in a second of one core (photographs of 224; an AMD EPYC, Pillow 13, grain 0.2.18).
Grain's worker processes are left out: they gave the same batches too, but begun and ended for every epoch they cost
25 s on two busy cores, leaked shared memory when a photograph was broken, and need absl's flags to be parsed first.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Generator, Sequence
from math import exp, log, sqrt
from typing import Literal

import numpy as np

from papers.common.data.ahead import ahead
from papers.common.data.folder import Listing, decode
from papers.common.data.pixels import central_crop
from papers.common.errors import UserError

AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Share of the photograph, width to height, and so many draws before the whole photograph is taken."""

WHOLE, CROPPED = 256, 224
"""The shorter side of a photograph and the central crop of it, as published; other sizes keep their ratio."""

Loader = Literal["threads", "grain"]


def random_box(height: int, width: int, random: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a part of a photograph, (left, top, right, bottom): its area uniform, its ratio uniform in the logarithm.

    Source: Szegedy et al. 2015, section 6; torchvision's RandomResizedCrop, also in what it does after ten failures:
        the largest central part of an allowed ratio.
    """
    for _ in range(TRIES):
        area = height * width * random.uniform(*AREA)
        ratio = exp(random.uniform(log(RATIO[0]), log(RATIO[1])))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = (int(random.integers(0, most + 1)) for most in (width - wide, height - high))
            return left, top, left + wide, top + high
    wide, high = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


@dataclasses.dataclass(frozen=True)
class RandomCrops:
    """The images of some steps, one after the other: a sequence that threads or grain can read.

    Attributes:
        listing: of the photographs.
        size: pixels a side.
        flips: whether half of them are mirrored.
        seed: of the crops.
        first: step of the first batch.
        order: of training photographs (images,).
        batch_size: images a step; the last batch may be smaller.
    """

    listing: Listing
    size: int
    flips: bool
    seed: int
    first: int
    order: np.ndarray
    batch_size: int

    def __len__(self) -> int:
        """Images in all."""
        return len(self.order)

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.int32]:
        """An image uint8 (size, size, 3), and its label."""
        from PIL import Image

        if not 0 <= place < len(self.order):
            raise IndexError(place)
        row = self.order[place]
        step, at = divmod(int(place), self.batch_size)
        random = np.random.default_rng((self.seed, self.first + step, at))
        whole = decode(self.listing, self.listing.files["train"][row])
        box = random_box(*whole.shape[:2], random)
        image = Image.fromarray(whole).resize((self.size, self.size), Image.Resampling.BILINEAR, box)
        mirrored = self.flips and random.random() < 0.5
        pixels = np.asarray(image)[:, ::-1] if mirrored else np.asarray(image)
        return pixels, np.int32(self.listing.labels["train"][row])


@dataclasses.dataclass(frozen=True)
class CentralCrops:
    """Test photographs as an array of which only the rows that are asked for are decoded.

    Attributes:
        listing: of the photographs.
        rows: of the test split (n,).
        size: pixels a side.
    """

    listing: Listing
    rows: np.ndarray
    size: int

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Images uint8 (many, size, size, 3): the shorter side resized to 256/224 of the size, the centre cropped."""
        rows = self.rows[index]
        (images,) = ahead(lambda place: self._image(rows[place]), len(rows), len(rows))
        return np.stack(images)

    def _image(self, row: int) -> np.ndarray:
        name = self.listing.files["test"][row]
        whole = decode(self.listing, name)
        try:
            return central_crop(whole, self.size, round(self.size * WHOLE / CROPPED))
        except ValueError as error:
            raise UserError(f"{self.listing.root / name} is of no use, {error}: take it out of the folder") from error


def require_loader(loader: Loader) -> None:
    """Raise UserError where grain is asked for and not installed."""
    if loader == "grain" and importlib.util.find_spec("grain") is None:
        raise UserError("--loader grain needs grain: pip install 'symjax-papers[imagenet]', or take --loader threads")


def batches(crops: RandomCrops, loader: Loader) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Images and labels of every step, decoded ahead of it; closed, it decodes nothing more.

    Raises:
        UserError: a photograph cannot be read, or grain is not installed.
    """
    require_loader(loader)
    if loader == "grain":
        yield from _by_grain(crops)
        return
    for now in ahead(crops.__getitem__, len(crops), crops.batch_size):
        yield _stacked(now)


def _by_grain(crops: RandomCrops) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    import grain

    # grain would read 500 elements ahead, whatever their size: two batches, as the threads do
    read = grain.ReadOptions(min(32, (os.cpu_count() or 1) + 4), 2 * crops.batch_size)
    steps = iter(grain.MapDataset.source(crops).to_iter_dataset(read).batch(crops.batch_size))
    try:
        yield from steps
    finally:
        steps.close()


def _stacked(images: Sequence[tuple[np.ndarray, np.int32]]) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = zip(*images, strict=True)
    return np.stack(pixels), np.stack(labels)
