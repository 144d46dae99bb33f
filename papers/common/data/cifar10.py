"""CIFAR-10 in its binary version: 50,000 train and 10,000 test images of 32 x 32 in 10 classes."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from papers.common.data.members import Members
from papers.common.data.outline import Outline, published
from papers.common.data.recipe import Example, Recipe
from papers.common.data.source import Archive
from papers.common.errors import UserError

ARCHIVE = Archive(
    dataset="cifar10",
    file="cifar-10-binary.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=170_052_171,
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    marks=tuple(f"data_batch_{number}.bin" for number in range(1, 6)) + ("test_batch.bin",),
)
MEMBERS = {
    "train": {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    },
    "test": {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
}
"""Published md5 of each member."""
RECORD = 1 + 3 * 32 * 32


def outline(size: int | None, data_dir: Path | None, cache_dir: Path | None) -> Outline:
    """Describe the published set."""
    return published(recipe(), size, data_dir, cache_dir)


def recipe(
    members: Mapping[str, Mapping[str, str]] = MEMBERS, per_member: int = 10_000, archive: Archive = ARCHIVE
) -> Recipe:
    """Describe CIFAR-10.

    Args:
        members: md5 of the files of each split.
        per_member: number of images in each file.
        archive: the published archive.
    """

    def verify(source: Members) -> None:
        present = source.names("")
        for file, md5 in [entry for files in members.values() for entry in files.items()]:
            if file not in present:
                raise UserError(f"{source.path} is damaged: {file} is missing; {archive.remedy}")
            if (found := hashlib.md5(source.read(file)).hexdigest()) != md5:
                raise UserError(f"{source.path}/{file} is damaged: md5 {found} found, {md5} expected; {archive.remedy}")

    def examples(source: Members, split: str) -> Iterator[Example]:
        for file in members[split]:
            content = source.read(file)
            for start in range(0, len(content), RECORD):
                record = content[start : start + RECORD]
                yield Example(f"{file}[{start // RECORD}]", record[1:], record[0])

    def check(arrays: Mapping[str, np.ndarray]) -> str | None:
        for split, files in members.items():
            for index, (file, md5) in enumerate(files.items()):
                rows = slice(index * per_member, (index + 1) * per_member)
                found = _member_md5(arrays[f"{split}_images"][rows], arrays[f"{split}_labels"][rows])
                if found != md5:
                    return f"md5 {found} of {file} found, {md5} expected"
        return None

    return Recipe(
        name="cifar10",
        archive=archive,
        encoding="bytes",
        classes=10,
        counts={split: per_member * len(files) for split, files in members.items()},
        shape=(32, 32, 3),
        # of all train pixels / 255
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        augmentation="crop_flip",
        verify=verify,
        examples=examples,
        decode=decode,
        check=check,
    )


def decode(image: bytes) -> np.ndarray:
    """Turn the three colour planes of a record into an image."""
    return np.frombuffer(image, np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)


def _member_md5(images: np.ndarray, labels: np.ndarray) -> str:
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return hashlib.md5(np.concatenate([labels[:, None].astype(np.uint8), planes], axis=1)).hexdigest()
