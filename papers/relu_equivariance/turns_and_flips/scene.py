"""What all networks share: the traced network, how it is moved by D4, and orbits of images."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from papers.common import data
from papers.relu_equivariance.pairs.stage import BATCH, Stage
from papers.relu_equivariance.turns_and_flips.elements import SQUARE
from symjax.equivariance import transform


class Scene(NamedTuple):
    """A stage on which images and networks are moved by D4.

    Attributes:
        stage: the traced network, the layout of its leaves, images seen and test images.
    """

    stage: Stage

    def batches(self) -> Iterator[np.ndarray]:
        """The images seen, in batches that hold every image with all its images under D4."""
        count = BATCH // SQUARE.order
        for first in range(0, len(self.stage.seen), count):
            images = self.stage.seen[first : first + count]
            yield np.concatenate([moved(images, g) for g in range(SQUARE.order)])

    def images_of(self, variables: Any) -> list[Any]:
        """The network moved by every element of D4: it sees moved images as the network sees images."""
        return [
            jax.tree.map(np.asarray, transform(variables, self.stage.layout, SQUARE, g)) for g in range(SQUARE.order)
        ]

    def logits(self, variables: Any, element: int = 0) -> np.ndarray:
        """Logits of the test images moved by an element, (n, classes)."""
        raw, parts = self.stage.test.images, []
        for first in range(0, len(raw), 2 * BATCH):
            images = data.normalise(moved(raw[first : first + 2 * BATCH], element), self.stage.dataset)
            parts.append(np.asarray(self.stage.apply(variables, images)))
        return np.concatenate(parts)

    def correct(self, variables: Any) -> np.ndarray:
        """Which test images the network classifies as they are labelled, bool (n,)."""
        return self.stage.correct(variables)


def moved(images: np.ndarray, element: int) -> np.ndarray:
    """Images (n, side, side, channels) moved by an element of D4."""
    return np.moveaxis(SQUARE.act(element, np.moveaxis(images, -1, 1)), 1, -1)
