"""Photographs in folders, one for each class: which are chosen, and how they reach the network."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from papers.common.data import pixels
from papers.common.data.ahead import ahead
from papers.common.data.members import read_file
from papers.common.errors import UserError
from papers.common.models.pretrained import Preparation
from papers.common.paths import user_path

SUFFIXES = (".png", ".jpg", ".jpeg")

DECODED = 64
"""Photographs that are decoded at a time to see whether they can be."""


class Photographs(NamedTuple):
    """Files with their labels and the number of the folder they come from."""

    files: tuple[Path, ...]
    labels: np.ndarray
    folder: np.ndarray

    def __len__(self) -> int:
        """Number of files."""
        return len(self.files)


class Chosen(NamedTuple):
    """Photographs to evaluate on, and others to see."""

    evaluated: Photographs
    seen: Photographs

    def digest(self) -> str:
        """Fingerprint of the chosen files' contents.

        Raises:
            UserError: one of them is no photograph; better now than after minutes of computing.
        """
        digest, files = hashlib.sha256(), (*self.evaluated.files, *self.seen.files)
        for contents in ahead(lambda place: _checked(files[place]), len(files), DECODED):
            for content in contents:
                digest.update(content)
        return digest.hexdigest()


def class_numbers(places: Sequence[Path], classes: Path | None, count: int) -> dict[str, int]:
    """Number the network's classes by their sorted names.

    Args:
        places: folders of photographs; the first one with all classes names them.
        classes: a folder or a text file that does.
        count: how many there are.

    Raises:
        UserError: no place names so many classes.
    """
    if classes is not None:
        classes = user_path(classes)
        names = _names(classes) if classes.is_file() else _folders(classes)
        found = sorted(set(names))
        if len(found) != count:
            raise UserError(f"{classes} names {len(found)} classes, but the network has {count}")
        return {name: number for number, name in enumerate(found)}
    for place in places:
        if len(names := _folders(user_path(place))) == count:
            return {name: number for number, name in enumerate(sorted(names))}
    raise UserError(
        f"no folder has a folder for each of the network's {count} classes: name them with --classes, a folder or a "
        "text file"
    )


def choose(
    images: Sequence[Path], seen: Sequence[Path], numbers: dict[str, int], evaluated: int, count: int, seed: int
) -> Chosen:
    """Choose photographs: of each folder so many to evaluate, spread over its classes, and others to see.

    Raises:
        UserError: folders without photographs, of other classes, or with too few of them.
    """
    listings = [_listing(user_path(place), numbers, number) for number, place in enumerate(images)]
    chosen, rest = [], []
    for place, listing in zip(images, listings, strict=True):
        if len(listing) < evaluated:
            raise UserError(
                f"{place} has {len(listing)} photographs, but --evaluated asks for {evaluated} of each folder"
            )
        order = _spread(listing, seed)
        chosen.append(_take(listing, order[:evaluated]))
        rest.append(_take(listing, order[evaluated:]))
    if seen:
        rest = [_listing(user_path(place), numbers, number) for number, place in enumerate(seen, len(images))]
        taken = {file.resolve() for part in chosen for file in part.files}
        if both := [file for part in rest for file in part.files if file.resolve() in taken]:
            raise UserError(f"{both[0]} would be both evaluated and seen: name other folders with --seen")
        rest = [_take(part, _spread(part, seed)) for part in rest]
    # as many of each folder as there are, in turn
    turns = sorted((place, number) for number, part in enumerate(rest) for place in range(len(part)))[:count]
    if len(turns) < count:
        raise UserError(f"there are {len(turns)} photographs to see, but --count asks for {count}")
    parts = [_take(part, [place for place, n in turns if n == number]) for number, part in enumerate(rest)]
    return Chosen(_joined(chosen), _joined(parts))


def batches(
    photographs: Photographs, size: int, resize: int | None, how: Preparation, many: int
) -> Iterator[np.ndarray]:
    """Photographs as the network takes them, float32 (many, size, size, 3); the last batch may be smaller."""
    files = photographs.files
    for images in ahead(lambda place: prepare(files[place], size, resize or size, how), len(files), many):
        yield np.stack(images)


def prepare(file: Path, size: int, resize: int, how: Preparation) -> np.ndarray:
    """Resize the shorter side, crop the centre, scale and shift each channel.

    Raises:
        UserError: no readable photograph, or one far too narrow.
    """
    whole = _decoded(file, read_file(file))
    try:
        image = pixels.central_crop(whole, size, resize).astype(np.float32) * np.float32(how.scale)
    except ValueError as error:
        raise UserError(f"{file} is of no use, {error}: take it out") from error
    image = image[..., ::-1] if how.reverse else image
    return (image - np.float32(how.mean)) / np.float32(how.std)


def _checked(file: Path) -> bytes:
    """What is in a file, which is a photograph."""
    content = read_file(file)
    _decoded(file, content)
    return content


def _decoded(file: Path, content: bytes) -> np.ndarray:
    try:
        return pixels.decode(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no photograph that can be read ({error}): mend it, or take it out") from error


def _names(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text: --classes takes a folder, or a text file with one name a line") from None


def _folders(place: Path) -> list[str]:
    if not place.is_dir():
        raise UserError(f"{place} is no folder: it must hold a folder of photographs for each class")
    return [entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")]


def _listing(place: Path, numbers: dict[str, int], folder: int) -> Photographs:
    names = sorted(_folders(place))
    if unknown := [name for name in names if name not in numbers]:
        raise UserError(f"{place} has the class {unknown[0]}, which the network's {len(numbers)} classes have not")
    files = [
        (path, numbers[name])
        for name in names
        for path in sorted((place / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not files:
        raise UserError(
            f"{place} has no photographs (files that end in {', '.join(SUFFIXES)}, in a folder for each class)"
        )
    labels = np.array([label for _, label in files])
    return Photographs(tuple(path for path, _ in files), labels, np.full(len(files), folder))


def _spread(photographs: Photographs, seed: int) -> np.ndarray:
    """An order in which every beginning has the classes as evenly as can be."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(photographs))
    turn = np.zeros(len(photographs))
    for label in np.unique(photographs.labels):
        own = shuffled[photographs.labels[shuffled] == label]
        turn[own] = np.arange(len(own)) + random.uniform(0, 1, len(own))
    return np.argsort(turn, kind="stable")


def _take(photographs: Photographs, order: Sequence[int] | np.ndarray) -> Photographs:
    order = np.asarray(order, int)
    return Photographs(
        tuple(photographs.files[place] for place in order), photographs.labels[order], photographs.folder[order]
    )


def _joined(parts: Sequence[Photographs]) -> Photographs:
    """Folder after folder, but shuffled so that every batch has some of each."""
    files = [file for part in parts for file in part.files]
    labels, folder = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    return _take(Photographs(tuple(files), labels, folder), np.random.default_rng(0).permutation(len(files)))
