"""What every data set is once loaded: two splits of raw pixels and the numbers that normalise them."""

import hashlib
from typing import Literal, NamedTuple

import numpy as np

from papers.common.cli import check, check_count


class Split(NamedTuple):
    """Hold the images of one split, raw, and their labels."""

    images: np.ndarray
    """uint8, (n, height, width, 3); possibly a read-only memory map."""
    labels: np.ndarray
    """int32, (n,), in [0, classes)."""


class Dataset(NamedTuple):
    """Hold two splits; a network sees (images / scale - mean) / std."""

    name: str
    train: Split
    test: Split
    classes: int
    scale: float
    """The largest raw pixel value: 255, or 16 for digits."""
    mean: tuple[float, float, float]
    """Of images / scale, per channel."""
    std: tuple[float, float, float]
    augmentation: Literal["none", "crop_flip"]


def fingerprint(dataset: Dataset) -> str:
    """Return what tells two data sets apart: 16 hexadecimal digits of a SHA-256 over all that a network can see.

    That is every image and label of both splits in their order, and what normalises and augments them; neither the
    name nor the place that the images came from. Costs one reading of the images (0.6 s a GB on one core).

    >>> from papers.common.data import load
    >>> fingerprint(load("digits")) == fingerprint(load("digits", limit=100))
    False
    """
    digest = hashlib.sha256()
    rule = (dataset.classes, dataset.scale, tuple(dataset.mean), tuple(dataset.std), dataset.augmentation)
    digest.update(repr(rule).encode())
    for array in (*dataset.train, *dataset.test):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def select(dataset: Dataset, classes: int | None = None, limit: int | None = None) -> Dataset:
    """Keep the first `classes` classes, and of each split at most `limit` images, the same share of every class.

    Images keep their order. With `limit`, the first images of each class are kept, so a smaller limit selects a subset
    of what a larger one selects.

    Args:
        dataset: what to select from.
        classes: number of classes kept, 2 ... dataset.classes; None keeps all.
        limit: number of images kept in each split, at least one; None, or more than there are, keeps all.

    Raises:
        UserError: a number out of range.
    """
    check_selection(dataset.name, dataset.classes, classes, limit)
    kept = dataset.classes if classes is None else classes
    if kept == dataset.classes and limit is None:
        return dataset
    train, test = (_select(split, kept, limit) for split in (dataset.train, dataset.test))
    return dataset._replace(train=train, test=test, classes=kept)


def check_selection(name: str, available: int, classes: int | None, limit: int | None) -> None:
    """Raise UserError when `select` would: `available` is the number of classes of the set called `name`."""
    known = classes is None or 2 <= classes <= available
    check(known, "classes", classes, f"2 to {available}, the number {name} has")
    if limit is not None:
        check_count("limit", limit)


def check_batch(size: int, images: int) -> None:
    """Raise UserError for a batch larger than the training images."""
    check(size <= images, "batch_size", size, f"at most {images}, the number of training images")


def _select(split: Split, classes: int, limit: int | None) -> Split:
    rows = np.flatnonzero(split.labels < classes)
    if limit is not None and limit < len(rows):
        labels = split.labels[rows]
        order = np.argsort(labels, kind="stable")
        first = np.searchsorted(labels[order], np.arange(classes))
        rank = np.empty(len(rows), np.int64)
        rank[order] = np.arange(len(rows)) - first[labels[order]]  # how many of its class come before each image
        rows = np.sort(rows[np.lexsort((labels, rank))[:limit]])
    return Split(np.ascontiguousarray(split.images[rows]), split.labels[rows])
