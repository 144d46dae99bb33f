"""The data sets of the papers: raw uint8 images, prepared once and memory-mapped, augmented on the device.

digits          1,797 images inside scikit-learn's wheel, no download
cifar10         60,000 images of 32 x 32
tiny_imagenet   110,000 images of 64 x 64
folder          the user's own: a folder of PNG or JPEG images for each class

`load` gives a Dataset; `normalise` and `augment` are pure functions for the device. Importing this package imports
neither jax nor tensorflow-datasets.

To add a set, write a module with a function ``outline(size, data_dir, cache_dir) -> Outline`` beside the others, and
name it in `SETS`: every command line offers it then.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from papers.common.data import cifar10, digits, folder, tiny_imagenet
from papers.common.data.dataset import Dataset, Split, check_batch, check_selection, fingerprint, select
from papers.common.data.outline import Outline
from papers.common.errors import UserError

if TYPE_CHECKING:
    from papers.common.data.transforms import augment, normalise

__all__ = [
    "SETS",
    "Dataset",
    "Name",
    "Split",
    "augment",
    "fingerprint",
    "load",
    "load_once",
    "normalise",
    "select",
]

SETS: Mapping[str, Callable[[int | None, Path | None, Path | None], Outline]] = {
    "digits": digits.outline,
    "cifar10": cifar10.outline,
    "tiny_imagenet": tiny_imagenet.outline,
    "folder": folder.outline,
}
"""Every data set: its name on a command line -> ``outline(size, data_dir, cache_dir)``."""

Name = Literal[tuple(SETS)]
"""The type of a command line's field that names a set."""


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
        name: one of `SETS`.
        size: side of the images in pixels: 32 (default) or 64 for digits, which are enlarged; for the published sets at
            most their own side, reached by area averaging; for a folder any, its images' own by default.
        data_dir: directory with the published archive or its unpacked folder; None downloads it. Not needed, and not
            looked at, once the set is prepared. For a folder, the folder.
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
    if name not in SETS:
        raise UserError(f"data set is {name!r}, but must be one of {', '.join(SETS)}")
    outline = SETS[name](size, data_dir, cache_dir)
    check_selection(name, outline.classes, classes, limit)
    images = int(outline.train[:classes].sum())
    check_batch(batch_size, images if limit is None else min(images, limit))
    return outline.resize(select(outline.load(), classes, limit))


@lru_cache(maxsize=1)
def load_once(name: Name, **options: object) -> Dataset:
    """Load as :func:`load` does, and give the same again when asked for the same again, without looking at the disk.

    For a command, which loads its data to refuse what they do not allow, and once more to train on them.
    """
    return load(name, **options)


def __getattr__(name: str):
    # augment and normalise need jax, which whoever only prepares data does not.
    if name in ("augment", "normalise"):
        from papers.common.data import transforms

        return getattr(transforms, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
