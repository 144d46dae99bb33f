"""What all pairs of networks of a kind share: the traced network, how it is mirrored, and the images it sees."""

from collections.abc import Iterator
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
        seen: training images, normalised, (n, height, width, 3).
        test: test images, raw, and their labels.
        dataset: normalises them.
    """

    apply: Apply
    traced: Symmetries
    layout: SpatialLayout
    seen: np.ndarray
    test: data.Split
    dataset: data.Dataset

    def batches(self) -> Iterator[np.ndarray]:
        """The images seen, in batches that hold every image with its mirror image."""
        for first in range(0, len(self.seen), BATCH):
            images = self.seen[first : first + BATCH]
            yield np.concatenate([images, images[:, :, ::-1]])

    def mirrored(self, variables: Any) -> Any:
        """The network that sees mirror images as this one sees images."""
        return jax.tree.map(np.asarray, transform(variables, self.layout, flip_group(), 1))

    def logits(self, variables: Any, *, mirror: bool = False, limit: int | None = None) -> np.ndarray:
        """Logits of the test images, or of their mirror images, (n, classes)."""
        raw, parts = self.test.images[:limit], []
        for first in range(0, len(raw), 2 * BATCH):
            part = raw[first : first + 2 * BATCH]
            images = data.normalise(part[:, :, ::-1] if mirror else part, self.dataset)
            parts.append(np.asarray(self.apply(variables, images)))
        return np.concatenate(parts)

    def correct(self, variables: Any, limit: int | None = None) -> np.ndarray:
        """Which test images the network classifies as they are labelled, bool (n,)."""
        return self.logits(variables, limit=limit).argmax(-1) == self.test.labels[:limit]


def prepare(apply: Apply, variables: Any, dataset: data.Dataset, images: int) -> Stage:
    """Trace a network and choose the images that it sees, the same share of every class.

    Args:
        apply: of a finished run, or a function of one's own.
        variables: of any of the networks: their shapes are read.
        dataset: the networks were trained on it.
        images: how many training images are seen; all where there are fewer.
    """
    like = jax.ShapeDtypeStruct((1, *dataset.train.images.shape[1:]), jnp.float32)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype), variables)
    chosen = data.select(dataset, limit=min(images, len(dataset.train.labels))).train
    return Stage(
        jax.jit(apply),
        symmetries(apply, shapes, like),
        find_spatial(apply, shapes, like),
        np.asarray(data.normalise(chosen.images, dataset)),
        dataset.test,
        dataset,
    )
