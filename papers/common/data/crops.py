"""Photographs decoded as they are needed: random crops to train on, the same whoever reads them; central ones to judge.

A crop is a function of (seed, step, place in the batch), so a run that goes on draws what it would have drawn, and
threads or grain, which decode ahead of the step, give the same batches.
"""

import dataclasses
import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import exp, log, sqrt
from typing import Literal

import numpy as np

from papers.common.data.folder import Listing, decode
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
        first: step of the first row.
        indices: of training photographs (steps, batch).
    """

    listing: Listing
    size: int
    flips: bool
    seed: int
    first: int
    indices: np.ndarray

    def __len__(self) -> int:
        """Images in all."""
        return self.indices.size

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.int32]:
        """An image uint8 (size, size, 3), and its label."""
        from PIL import Image

        step, at = divmod(int(place), self.indices.shape[1])
        if not 0 <= step < len(self.indices):
            raise IndexError(place)
        row = self.indices[step, at]
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
        from PIL import Image

        images = []
        for row in self.rows[index]:
            whole = Image.fromarray(decode(self.listing, self.listing.files["test"][row]))
            scale = round(self.size * WHOLE / CROPPED) / min(whole.size)
            sides = [max(self.size, round(side * scale)) for side in whole.size]
            left, top = ((side - self.size) // 2 for side in sides)
            small = whole.resize(tuple(sides), Image.Resampling.BILINEAR)
            images.append(np.asarray(small.crop((left, top, left + self.size, top + self.size))))
        return np.stack(images)


def require_loader(loader: Loader) -> None:
    """Raise UserError where grain is asked for and not installed."""
    if loader == "grain" and importlib.util.find_spec("grain") is None:
        raise UserError("--loader grain needs grain: pip install 'symjax-papers[imagenet]', or take --loader threads")


def batches(crops: RandomCrops, loader: Loader) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of every step, decoded ahead of it."""
    require_loader(loader)
    steps, size = crops.indices.shape
    if loader == "grain":
        import grain

        yield from grain.MapDataset.source(crops).batch(size).to_iter_dataset()
        return
    with ThreadPoolExecutor() as pool:
        ahead = pool.map(crops.__getitem__, range(size))
        for step in range(1, steps + 1):
            now, ahead = list(ahead), pool.map(crops.__getitem__, range(step * size, min(step + 1, steps) * size))
            yield _stacked(now)


def _stacked(images: Sequence[tuple[np.ndarray, np.int32]]) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = zip(*images, strict=True)
    return np.stack(pixels), np.stack(labels)
