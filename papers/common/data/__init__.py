"""The data sets of the papers: raw uint8 images, prepared once and memory-mapped, augmented on the device.

digits          1,797 images inside scikit-learn's wheel, no download
cifar10         60,000 images of 32 x 32
tiny_imagenet   110,000 images of 64 x 64

`load` gives a Dataset; `normalise` and `augment` are pure functions for the device. Importing this package imports
neither jax nor tensorflow-datasets.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from papers.common.cli import check
from papers.common.data.dataset import Dataset, Split, check_batch, check_selection, fingerprint, select
from papers.common.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from papers.common.data.recipe import Recipe
    from papers.common.data.transforms import augment, normalise

__all__ = ["Dataset", "Name", "Split", "augment", "fingerprint", "load", "normalise", "prepared", "select"]

Name = Literal["digits", "cifar10", "tiny_imagenet"]


def load(
    name: Name,
    *,
    size: int | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    classes: int | None = None,
    limit: int | None = None,
    batch_size: int = 1,
) -> Dataset:
    """Load a data set, preparing it first when it is not in the cache.

    Args:
        name: digits, cifar10 or tiny_imagenet.
        size: side of the enlarged digits in pixels, 32 (default) or 64; the other sets have one size.
        data_dir: directory with the published archive or its unpacked folder; None downloads it. Not needed, and not
            looked at, once the set is prepared.
        cache_dir: None is $SYMJAX_PAPERS_CACHE or ~/.cache/symjax-papers.
        classes: keep the first so many classes.
        limit: keep so many images of each split, stratified.
        batch_size: images a step, refused where it is larger than the training images, before anything is prepared.

    Returns:
        Raw images and labels of two splits with the numbers that normalise them.

    Raises:
        UserError: an argument out of range, data absent or damaged.

    >>> load("digits", limit=100).train.images.shape
    (100, 32, 32, 3)
    """
    if name == "digits":
        from papers.common.data import digits

        dataset = select(digits.load(size), classes, limit)
        check_batch(batch_size, len(dataset.train.labels))
        return dataset
    chosen = _recipe(name)
    own = (size, size) == chosen.shape[:2]
    check(size is None or own, "size", size, f"left out: {name} has {chosen.shape[0]} pixels a side")
    # before minutes of preparation; every class of these sets has the same number of images
    check_selection(name, chosen.classes, classes, limit)
    images = chosen.counts["train"] * (classes or chosen.classes) // chosen.classes
    check_batch(batch_size, images if limit is None else min(images, limit))
    arrays = prepared(name, data_dir, cache_dir)
    train, test = (Split(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    whole = Dataset(name, train, test, chosen.classes, 255.0, chosen.mean, chosen.std, chosen.augmentation)
    return select(whole, classes, limit)


def prepared(
    name: str, data_dir: Path | None = None, cache_dir: Path | None = None, check: bool = False
) -> "Mapping[str, np.ndarray]":
    """Open the prepared arrays of a downloaded set, preparing them first; see `prepare.arrays`."""
    from papers.common.data import prepare

    return prepare.arrays(_recipe(name), data_dir, cache_dir, check)


def _recipe(name: str) -> "Recipe":
    """Return how a set is prepared; UserError for an unknown name."""
    from papers.common.data import cifar10, tiny_imagenet

    recipes = {"cifar10": cifar10.recipe, "tiny_imagenet": tiny_imagenet.recipe}
    if name not in recipes:
        raise UserError(f"data set is {name!r}, but must be digits, cifar10 or tiny_imagenet")
    return recipes[name]()


def __getattr__(name: str):
    # augment and normalise need jax, which whoever only prepares data does not.
    if name in ("augment", "normalise"):
        from papers.common.data import transforms

        return getattr(transforms, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
