"""Tiny-ImageNet-200: 200 classes of ImageNet at 64 x 64, 500 train and 50 validation images each."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from papers.common.data.members import Members
from papers.common.data.outline import Outline, published
from papers.common.data.pixels import decode
from papers.common.data.recipe import Example, Recipe
from papers.common.data.source import Archive
from papers.common.errors import UserError

ARCHIVE = Archive(
    dataset="tiny_imagenet",
    file="tiny-imagenet-200.zip",
    url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
    size=248_100_043,
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
    folder="tiny-imagenet-200",
    marks=("wnids.txt", "val/val_annotations.txt"),
)
SHAPE = (64, 64, 3)
STATISTICS = ((0.4802, 0.4481, 0.3975), (0.2764, 0.2689, 0.2816))
"""Mean and standard deviation of all train pixels / 255, per channel."""
TOLERANCE = 5e-4
"""Of the statistics; JPEG decoders differ by less."""


def outline(size: int | None, data_dir: Path | None, cache_dir: Path | None) -> Outline:
    """Describe the published set."""
    return published(recipe(), size, data_dir, cache_dir)


def recipe(
    classes: int = 200,
    per_class: int = 500,
    validation: int = 10_000,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = STATISTICS,
    archive: Archive = ARCHIVE,
) -> Recipe:
    """Describe Tiny-ImageNet-200; the labelled validation images are the test split.

    A label is the place of the class's wnid among the sorted wnids, as torchvision's ImageFolder has it, because the
    order of the lines in wnids.txt is not the same in every copy of the set.

    Args:
        classes, per_class, validation: expected numbers of classes, of train images of each, of validation images.
        statistics: expected mean and standard deviation of the train images, None for unknown.
        archive: the published archive.
    """
    return Recipe(
        name="tiny_imagenet",
        archive=archive,
        encoding="jpeg",
        classes=classes,
        counts={"train": classes * per_class, "test": validation},
        shape=SHAPE,
        mean=(0.480, 0.448, 0.397),
        std=(0.276, 0.269, 0.282),
        augmentation="crop_flip",
        verify=partial(verify, classes=classes, per_class=per_class, validation=validation, archive=archive),
        examples=partial(examples, per_class=per_class),
        decode=partial(decode, shape=SHAPE),
        check=partial(check, statistics=statistics),
    )


def verify(members: Members, classes: int, per_class: int, validation: int, archive: Archive) -> None:
    """Count the classes, the train images of each, the validation images and their annotations.

    Raises:
        UserError: the first number that is wrong.
    """

    def expect(what: str, found: int, expected: int) -> None:
        if found != expected:
            raise UserError(f"{members.path} is damaged: {found:,} of {expected:,} {what} found; {archive.remedy}")

    for file in ("wnids.txt", "val/val_annotations.txt"):
        folder, _, name = file.rpartition("/")
        if name not in members.names(folder):
            raise UserError(f"{members.path} is damaged: {file} is missing; {archive.remedy}")
    wnids = _wnids(members)
    expect("different wnids in wnids.txt", len(set(wnids)), classes)
    for wnid in wnids:
        folder = f"train/{wnid}/images"
        present = members.names(folder) & {_train_name(wnid, index) for index in range(per_class)}
        expect(f"images in {folder}", len(present), per_class)
    annotations = _annotations(members)
    expect(
        "annotations of the wnids in val/val_annotations.txt", sum(w in wnids for w in annotations.values()), validation
    )
    expect("annotated images in val/images", len(members.names("val/images") & annotations.keys()), validation)


def examples(members: Members, split: str, per_class: int) -> Iterator[Example]:
    """Yield train images class by class, validation images in the order of their annotations."""
    label = {wnid: index for index, wnid in enumerate(_wnids(members))}
    if split == "train":
        places = (
            (f"train/{wnid}/images/{_train_name(wnid, index)}", wnid) for wnid in label for index in range(per_class)
        )
    else:
        places = ((f"val/images/{name}", wnid) for name, wnid in _annotations(members).items())
    for member, wnid in places:
        yield Example(member, members.read(member), label[wnid])


def check(
    arrays: Mapping[str, np.ndarray], statistics: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> str | None:
    """Compare mean and standard deviation of the train images with the published ones."""
    if statistics is None:
        return None
    found = mean_and_std(arrays["train_images"])
    if np.abs(np.subtract(found, statistics)).max() <= TOLERANCE:
        return None
    return (
        f"mean {found[0].round(4).tolist()} and std {found[1].round(4).tolist()} of the train images found, "
        f"{list(statistics[0])} and {list(statistics[1])} expected"
    )


def mean_and_std(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of all pixels / 255, float64, per channel."""
    histogram = np.zeros((3, 256))
    for start in range(0, len(images), 1000):
        block = images[start : start + 1000].reshape(-1, 3)
        histogram += [np.bincount(block[:, channel], minlength=256) for channel in range(3)]
    value, share = np.arange(256) / 255, histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ value
    return mean, np.sqrt(share @ value**2 - mean**2)


def _wnids(members: Members) -> list[str]:
    return sorted(members.read("wnids.txt").decode("utf-8-sig", errors="replace").split())


def _train_name(wnid: str, index: int) -> str:
    return f"{wnid}_{index}.JPEG"


def _annotations(members: Members) -> dict[str, str]:
    lines = members.read("val/val_annotations.txt").decode("utf-8-sig", errors="replace").splitlines()
    return dict(line.split("\t")[:2] for line in lines if "\t" in line)
