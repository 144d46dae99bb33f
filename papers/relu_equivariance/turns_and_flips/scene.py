"""What all networks share: the traced network, how it is moved by D4, and orbits of images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.relu_equivariance.pairs.stage import BATCH, Stage
from papers.relu_equivariance.turns_and_flips.elements import SQUARE
from symjax.equivariance import transform


class Scene(NamedTuple):
    """A stage on which images and networks are moved by D4.

    Attributes:
        stage: the traced network, the layout of its leaves, test images and their labels.
        batches: training images, each batch with all their images under D4, normalised, on the device.
    """

    stage: Stage
    batches: tuple[jax.Array, ...]

    def images_of(self, variables: Any) -> list[Any]:
        """The network moved by every element of D4: it sees moved images as the network sees images."""
        return [transform(variables, self.stage.layout, SQUARE, g) for g in range(SQUARE.order)]

    def logits(self, variables: Any, element: int = 0) -> np.ndarray:
        """Logits of the test images moved by an element, (n, classes)."""
        parts = [self.stage.apply(variables, moved(images, element)) for images in self.stage.test]
        return np.concatenate(jax.device_get(parts))


def whole_orbits(stage: Stage) -> Scene:
    """Give a stage's training images, which have their mirror images beside them, all their images under D4."""
    count, batches = BATCH // SQUARE.order, []
    for both in stage.batches:
        images = both[: len(both) // 2]
        for first in range(0, len(images), count):
            part = images[first : first + count]
            batches.append(jnp.concatenate([moved(part, g) for g in range(SQUARE.order)]))
    return Scene(stage, tuple(batches))


def moved(images: Any, element: int) -> Any:
    """Images (n, side, side, channels) moved by an element of D4."""
    space = np if isinstance(images, np.ndarray) else jnp
    return space.moveaxis(SQUARE.act(element, space.moveaxis(images, -1, 1)), 1, -1)
