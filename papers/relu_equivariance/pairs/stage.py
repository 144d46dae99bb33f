"""What all pairs of networks of a kind share: the traced network, how it is mirrored, and the images it sees."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import data
from papers.common.network import Apply
from symjax.equivariance import SpatialLayout, find_spatial, flip_group, transform
from symjax.tracing import Symmetries, symmetries

BATCH = 250


class Stage(NamedTuple):
    """What all pairs share.

    Attributes:
        apply: of the network, compiled.
        traced: its channels, found from its program.
        layout: which axes of its leaves are rows and columns of images.
        batches: training images, each batch with its mirror images, normalised, on the device.
        test: test images in batches, normalised, on the device.
        labels: of the test images (n,).
    """

    apply: Apply
    traced: Symmetries
    layout: SpatialLayout
    batches: tuple[jax.Array, ...]
    test: tuple[jax.Array, ...]
    labels: np.ndarray

    def mirrored(self, variables: Any) -> Any:
        """The network that sees mirror images as this one sees images."""
        return transform(variables, self.layout, flip_group(), 1)

    def logits(self, variables: Any, *, mirror: bool = False, limit: int | None = None) -> np.ndarray:
        """Logits of the test images, or of their mirror images, (n, classes)."""
        left, parts = len(self.labels) if limit is None else limit, []
        for images in self.test:
            if left > 0:
                images, left = images[:left], left - len(images)
                parts.append(self.apply(variables, images[:, :, ::-1] if mirror else images))
        return np.concatenate(jax.device_get(parts))

    def correct(self, variables: Any, limit: int | None = None) -> np.ndarray:
        """Which test images the network classifies as they are labelled, bool (n,)."""
        return self.logits(variables, limit=limit).argmax(-1) == self.labels[:limit]


def prepare(apply: Apply, variables: Any, dataset: data.Dataset, images: int) -> Stage:
    """Trace a network and choose the images that it sees, the same share of every class.

    Args:
        apply: of a finished run, or a function of one's own.
        variables: of any of the networks: their shapes are read.
        dataset: the networks were trained on it.
        images: how many training images are seen; all where there are fewer.
    """

    def exact(variables: Any, images: Any) -> Any:
        with jax.default_matmul_precision(
            "highest"
        ):  # accelerators round the factors of a product to ten bits otherwise
            return apply(variables, images)

    like = jax.ShapeDtypeStruct((1, *dataset.train.images.shape[1:]), jnp.float32)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype), variables)
    chosen = data.select(dataset, limit=min(images, len(dataset.train.labels))).train
    seen = _batches(chosen.images, dataset, BATCH)
    return Stage(
        jax.jit(exact),
        symmetries(exact, shapes, like),
        find_spatial(exact, shapes, like),
        tuple(jnp.concatenate([batch, batch[:, :, ::-1]]) for batch in seen),
        _batches(dataset.test.images, dataset, 2 * BATCH),
        dataset.test.labels,
    )


def _batches(images: np.ndarray, dataset: data.Dataset, size: int) -> tuple[jax.Array, ...]:
    return tuple(data.normalise(images[first : first + size], dataset) for first in range(0, len(images), size))
