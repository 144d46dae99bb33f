"""What distinguishes one image set from another while it is prepared."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from papers.common.data.members import Members
from papers.common.data.source import Archive


class Example(NamedTuple):
    """Hold one image as it was published."""

    member: str
    """Where it was found, for messages."""
    image: bytes
    label: int


class Recipe(NamedTuple):
    """Describe how a published archive becomes two splits of raw images."""

    name: str
    archive: Archive
    encoding: Literal["jpeg", "bytes"]
    """What an example's image is in the records: a JPEG file, or bytes that `decode` alone understands."""
    classes: int
    counts: Mapping[str, int]
    """Images of "train" and of "test"."""
    shape: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augmentation: Literal["none", "crop_flip"]
    verify: Callable[[Members], None]
    """Raise UserError unless every expected member is there."""
    examples: Callable[[Members, str], Iterator[Example]]
    """Yield the images of a split, in an order that depends on the published names alone."""
    decode: Callable[[bytes], np.ndarray]
    """Return uint8 of `shape`; raise ValueError or OSError when the bytes are no such image."""
    check: Callable[[Mapping[str, np.ndarray]], str | None]
    """Say what is wrong with the decoded arrays, None when they are the published ones."""
