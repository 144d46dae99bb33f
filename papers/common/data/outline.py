"""What a data set is before it is loaded: how many classes and images it has, and how to get them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from papers.common.cli import check_count
from papers.common.data.dataset import Dataset, Split
from papers.common.data.pixels import area_average
from papers.common.data.recipe import Recipe

SMALLEST = 8
"""Pixels a side of the smallest images that a set is reduced to."""


class Outline(NamedTuple):
    """Hold what is known of a set without its images, to refuse a selection before anything is prepared."""

    classes: int
    train: np.ndarray
    """Train images of each class, (classes,)."""
    load: Callable[[], Dataset]
    """Prepare the whole set where that is needed, and open it."""
    resize: Callable[[Dataset], Dataset] = lambda dataset: dataset
    """Bring a selection of it to the size asked for."""


def published(recipe: Recipe, size: int | None, data_dir: Path | None, cache_dir: Path | None) -> Outline:
    """Describe a published set, whose numbers are known and whose classes are of equal size.

    A smaller `size` is reached by area averaging, with the set's own mean and deviation to normalise by; what is cached
    are the images of the set's own size.

    Args:
        recipe: how it is prepared.
        size: pixels a side; None is the set's own.
        data_dir, cache_dir: as `papers.common.data.load` has them.

    Raises:
        UserError: a size that the set cannot be reduced to.
    """
    own = recipe.shape[0]
    if size is not None:
        check_count("size", size, SMALLEST, own)

    def load() -> Dataset:
        from papers.common.data import prepare

        arrays = prepare.arrays(recipe, data_dir, cache_dir)
        train, test = (Split(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
        return Dataset(recipe.name, train, test, recipe.classes, 255.0, recipe.mean, recipe.std, recipe.augmentation)

    each = np.full(recipe.classes, recipe.counts["train"] // recipe.classes)
    return Outline(recipe.classes, each, load, lambda dataset: reduced(dataset, size))


def reduced(dataset: Dataset, size: int | None) -> Dataset:
    """Bring the images of both splits to `size` pixels a side by area averaging; None leaves them as they are."""
    if size is None or size == dataset.train.images.shape[1]:
        return dataset
    train, test = (split._replace(images=area_average(split.images, size)) for split in (dataset.train, dataset.test))
    return dataset._replace(train=train, test=test)
