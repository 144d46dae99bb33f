"""The seven kinds of network that the paper compares, and two for the groups of quarter turns."""

from typing import Literal, NamedTuple

from papers.common.models.sizes import CONVOLUTIONS

DEPTH = len(CONVOLUTIONS)
"""Of the convolutions, all of which a GCNN ties."""


class Kind(NamedTuple):
    """How a network is built and trained.

    Attributes:
        words: its name in a table.
        flips: whether training images are mirrored at random.
        invariance: when the invariance loss is part of the loss.
        equivariant: how many of the first convolutions are equivariant by construction.
        turns: whether training images are turned by quarters at random.
    """

    words: str
    flips: bool = False
    invariance: Literal["never", "always", "late"] = "never"
    equivariant: int = 0
    turns: bool = False


KINDS: dict[str, Kind] = {
    "cnn": Kind("CNN"),
    "cnn_aug": Kind("CNN + augmentation", flips=True),
    "cnn_inv": Kind("CNN + invariance loss", invariance="always"),
    "cnn_late_inv": Kind("CNN + late invariance loss", invariance="late"),
    "gcnn": Kind("GCNN", equivariant=DEPTH),
    "pgcnn": Kind("PGCNN", equivariant=2),
    "pgcnn_late_inv": Kind("PGCNN + late invariance loss", invariance="late", equivariant=2),
    "cnn_c4": Kind("CNN + quarter turns", turns=True),
    "cnn_d4": Kind("CNN + quarter turns and flips", flips=True, turns=True),
}
"""Name on a command line -> kind, in the order of the paper's table; the last two are not in it."""

OF_THE_TABLE = tuple(KINDS)[:7]
"""The paper's own."""

KindName = Literal[tuple(KINDS)]
"""The names, as a command line offers them."""
