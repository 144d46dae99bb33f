"""The elements of D4 that are merged one by one, and its subgroups that are merged as a whole."""

import numpy as np

from symjax.equivariance import SpatialGroup, dihedral_group

SQUARE: SpatialGroup = dihedral_group()
"""Element ``k + 4 f`` flips the width f times, then turns k quarters."""

ELEMENTS: dict[str, int] = {
    "quarter turn": 1,
    "half turn": 2,
    "horizontal flip": 4,
    "vertical flip": 6,
    "diagonal flip": 5,
    "other diagonal": 7,
}
"""Those merged one by one: all but the identity and the second quarter turn, whose pair is that of the first, moved."""

FLIPS = ("horizontal flip", "vertical flip")
"""The controls: the paper's own element and its like."""

SUBGROUPS: dict[str, tuple[int, ...]] = {
    "C2 horizontal": (0, 4),
    "C2 vertical": (0, 6),
    "C4": (0, 1, 2, 3),
    "D4": tuple(range(8)),
}
"""Numbers of their elements in D4, the identity first."""


def table(name: str) -> np.ndarray:
    """The Cayley table of a subgroup, its elements numbered in its own order.

    >>> table("C2 vertical")
    array([[0, 1],
           [1, 0]])
    """
    members = SUBGROUPS[name]
    products = SQUARE.table[np.ix_(members, members)]
    return np.argmax(products[..., None] == np.array(members), axis=-1)
