"""How far a network is from invariant to a flip, over many images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from papers.common.compilation import once_options
from symjax.equivariance import invariance_error


def mean_invariance_error(
    apply: Callable[[Any, Any], jax.Array],
    variables: Any,
    normalise: Callable[[Any], Any],
    images: Any,
    count: int,
    batch_size: int,
) -> float:
    """The mean invariance error over images.

    Args:
        apply: ``apply(variables, images)``, the logits.
        variables: of the network.
        normalise: of raw images (n, height, width, 3).
        images: raw, indexed by an array of rows; more than are held at a time may be decoded as they are asked for.
        count: how many there are.
        batch_size: how many at a time.
    """

    @partial(jax.jit, compiler_options=once_options())
    def total(variables: Any, raw: jax.Array) -> jax.Array:
        images = normalise(raw)
        return invariance_error(apply(variables, images), apply(variables, images[:, :, ::-1])).sum()

    parts = np.split(np.arange(count), np.arange(batch_size, count, batch_size))
    with jax.default_matmul_precision("highest"):  # accelerators round the factors of a product to ten bits otherwise
        return float(sum(np.asarray(total(variables, images[part]), np.float64) for part in parts)) / count
