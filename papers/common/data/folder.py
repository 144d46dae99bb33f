"""A data set of one's own: a folder of PNG or JPEG images for each class."""

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from papers.common.cli import check, check_count
from papers.common.data import cache, pixels
from papers.common.data.dataset import Dataset, Split
from papers.common.data.digits import stratified
from papers.common.data.members import read_file, unreadable
from papers.common.data.outline import SMALLEST, Outline
from papers.common.data.tiny_imagenet import mean_and_std
from papers.common.errors import UserError
from papers.common.paths import shortened, user_path

SUFFIXES = (".png", ".jpg", ".jpeg")
TEST_FOLDERS = ("test", "val")
TEST_SHARE = 5
"""One image of so many is a test image, where the folder does not say which are."""
LARGEST_SIDE = 512
LAYOUT = "DIR/train/CLASS/*.png and DIR/test/CLASS/*.png (or val/), or DIR/CLASS/*.png, which is split"


class Listing(NamedTuple):
    """Hold what a folder has, without its pixels."""

    root: Path
    classes: tuple[str, ...]
    """Sorted; a label is a class's place among them."""
    files: Mapping[str, tuple[str, ...]]
    """Of "train" and "test": paths below `root`."""
    labels: Mapping[str, np.ndarray]
    digest: str
    """Changes with any name, size or time of a file."""


def outline(size: int | None, data_dir: Path | None, cache_dir: Path | None) -> Outline:
    """Describe a folder of images: a folder for each class, in train/ and in test/ or val/, or all in one to be split.

    An image that is not square loses what lies outside its largest central square; area averaging brings it to `size`.
    Without a train/ and a test/ folder one image in five of each class is a test image, always the same.

    Args:
        size: pixels a side; None is the side of the images, which then must all be square and of one size.
        data_dir: the folder.
        cache_dir: where the decoded images are kept; they are prepared again when a file of the folder changes.

    Raises:
        UserError: no such folder, or one that is laid out otherwise.
    """
    check(data_dir is not None, "data_dir", None, f"the folder of the images with --data folder: {LAYOUT}")
    if size is not None:
        check_count("size", size, SMALLEST, LARGEST_SIDE)
    root = user_path(data_dir)
    try:
        listing = read_listing(root)
    except OSError as error:
        raise unreadable(shortened(error.filename or root), error.strerror) from error
    side = size or _own_side(listing)
    train = np.bincount(listing.labels["train"], minlength=len(listing.classes))
    return Outline(len(listing.classes), train, lambda: _load(listing, side, cache_dir))


def read_listing(root: Path) -> Listing:
    """List the images of a folder and judge its layout; only names, sizes and times are read.

    Raises:
        UserError: another layout than the ones described.
        OSError: a place that cannot be looked into.
    """
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {what}, but must be a folder of images: {LAYOUT}")
    root = _unnested(root)
    inside = _folders(root)
    test = next((name for name in TEST_FOLDERS if name in inside), None) if "train" in inside else None
    train_root = root / "train" if "train" in inside else root
    classes = _folders(train_root)
    if len(classes) < 2:
        raise UserError(
            f"{train_root} holds {len(classes)} folders, but needs one for each of at least 2 classes: {LAYOUT}"
        )
    files, labels = _images(root, train_root, classes)
    if test is None:
        held = stratified(labels, len(labels) // TEST_SHARE, seed=0) if len(labels) else np.zeros(0, bool)
        parts = {"train": ([f for f, out in zip(files, held, strict=True) if not out], labels[~held])}
        parts["test"] = ([f for f, out in zip(files, held, strict=True) if out], labels[held])
    else:
        extra = sorted(set(_folders(root / test)) - set(classes))
        if extra:
            raise UserError(
                f"{root / test} has the class {extra[0]}, which {train_root} has not: the classes of both must be the "
                "same (a published set has a --data of its own)"
            )
        parts = {"train": (files, labels), "test": _images(root, root / test, classes)}
    _refuse_empty(root, classes, parts)
    digest = hashlib.sha256(os.fsencode(root.resolve()))
    for name in (*parts["train"][0], *parts["test"][0]):
        status = (root / name).stat()
        digest.update(os.fsencode(f"\n{name}\t{status.st_size}\t{status.st_mtime_ns}"))
    return Listing(
        root,
        tuple(classes),
        {split: tuple(names) for split, (names, _) in parts.items()},
        {split: part for split, (_, part) in parts.items()},
        digest.hexdigest()[:16],
    )


def _unnested(root: Path) -> Path:
    """The folder itself, or what it holds where that is one folder and no image, as archives like to unpack."""
    for _ in range(3):
        inside = _folders(root)
        if len(inside) != 1 or inside[0] == "train" or any(_is_image(entry) for entry in root.iterdir()):
            break
        if not _folders(root / inside[0]):
            break
        root = root / inside[0]
    return root


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _images(root: Path, split: Path, classes: list[str]) -> tuple[list[str], np.ndarray]:
    """The images below each class's folder, however deep, and their labels; a folder that is absent has none."""
    files, labels = [], []
    for label, name in enumerate(classes):
        own = sorted(path for path in (split / name).rglob("*") if _is_image(path))
        files += [str(path.relative_to(root)) for path in own]
        labels += [label] * len(own)
    return files, np.array(labels, np.int32)


def _refuse_empty(root: Path, classes: list[str], parts: Mapping[str, tuple[list[str], np.ndarray]]) -> None:
    counts = np.bincount(parts["train"][1], minlength=len(classes))
    if not counts.all():
        name = classes[int(np.argmin(counts))]
        raise UserError(
            f"{root} has no training image of the class {name} (files that end in {', '.join(SUFFIXES)}): add some, or "
            "take its folder out"
        )
    if not len(parts["test"][1]):
        raise UserError(f"{root} has no test image: add a test/ folder, or at least {TEST_SHARE} images in all")


def _own_side(listing: Listing) -> int:
    first = decode(listing, listing.files["train"][0])
    height, width = first.shape[:2]
    if height != width or not SMALLEST <= height <= LARGEST_SIDE:
        raise UserError(
            f"the first image of {listing.root} has {width} x {height} pixels: give --size, from {SMALLEST} to "
            f"{LARGEST_SIDE}"
        )
    return height


def decode(listing: Listing, name: str) -> np.ndarray:
    """Decode one of the files of a listing, or raise a UserError that names it."""
    try:
        return pixels.decode(read_file(listing.root / name))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{listing.root / name} is no image ({error}): mend it, or take it out of the folder"
        ) from error


def _load(listing: Listing, side: int, cache_dir: Path | None) -> Dataset:
    from papers.common.data import prepare

    place = hashlib.sha256(os.fsencode(listing.root.resolve())).hexdigest()[:16]
    root = prepare.cache_root(cache_dir)
    stem = f"folder-{place}-{side}-"
    decoded = root / "decoded" / f"{stem}{listing.digest}"
    with prepare.writing(root, str(listing.root), "start again"):
        cache.remove_abandoned(decoded.parent)
        if decoded.exists():
            try:
                return _dataset(listing, cache.open_arrays(decoded))
            except cache.Damaged as damage:
                prepare.say(f"{damage}; it is prepared again")
                cache.discard(decoded)
        images = sum(map(len, listing.files.values()))
        prepare.check_room(str(listing.root), root, images * (side * side * 3 + 8) + 4096)
        prepare.say(f"{listing.root}: decoding {images:,} images of {len(listing.classes)} classes, once, in {root}")
        start = time.monotonic()
        _prepare(listing, side, decoded)
        for old in decoded.parent.glob(f"{stem}*"):  # the folder has changed since
            if old != decoded:
                cache.discard(old)
        prepare.say(f"{listing.root}: prepared in {time.monotonic() - start:.0f} s")
        return _dataset(listing, cache.open_arrays(decoded))


def _prepare(listing: Listing, side: int, decoded: Path) -> None:
    with cache.whole_directory(decoded) as directory:
        made = {}
        for split, names in listing.files.items():
            images = cache.create(directory, f"{split}_images", (len(names), side, side, 3), np.uint8)
            for row, name in enumerate(names):
                image = pixels.square(decode(listing, name))
                images[row] = image if len(image) == side else pixels.area_average(image, side)
            labels = cache.create(directory, f"{split}_labels", (len(names),), np.int32)
            labels[:] = listing.labels[split]
            made |= {f"{split}_images": images, f"{split}_labels": labels}
        statistics = cache.create(directory, "statistics", (2, 3), np.float64)
        statistics[:] = mean_and_std(made["train_images"])
        cache.seal(directory, made | {"statistics": statistics})


def _dataset(listing: Listing, arrays: Mapping[str, np.ndarray]) -> Dataset:
    train, test = (Split(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    mean, std = arrays["statistics"].tolist()
    std = [value or 1.0 for value in std]  # a channel without contrast
    return Dataset("folder", train, test, len(listing.classes), 255.0, tuple(mean), tuple(std), "crop_flip")
