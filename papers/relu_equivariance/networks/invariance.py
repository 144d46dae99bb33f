"""How far a network is from invariant to a flip, over many images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.compilation import once_options
from symjax.equivariance import invariance_error


def mean_invariance_errors(
    apply: Callable[[Any, Any], jax.Array],
    variables: Any,
    normalise: Callable[[Any], Any],
    images: Any,
    count: int,
    batch_size: int,
) -> dict[str, float]:
    """The mean invariance error over images: of logits, as published, and of logits less their mean over the classes.

    The first falls also where a constant is added to all logits, which no decision depends on; the second does not.

    Args:
        apply: ``apply(variables, images)``, the logits.
        variables: of the network.
        normalise: of raw images (n, height, width, 3).
        images: raw, indexed by an array of rows; more than are held at a time may be decoded as they are asked for.
        count: how many there are.
        batch_size: how many at a time.

    Returns:
        ``invariance_error`` and ``centred_invariance_error``.
    """

    @partial(jax.jit, compiler_options=once_options())
    def total(variables: Any, raw: jax.Array) -> jax.Array:
        images = normalise(raw)
        logits, mirrored = apply(variables, images), apply(variables, images[:, :, ::-1])
        return jnp.stack([invariance_error(logits, mirrored, centred=centred).sum() for centred in (False, True)])

    parts = np.split(np.arange(count), np.arange(batch_size, count, batch_size))
    with jax.default_matmul_precision("highest"):  # accelerators round the factors of a product to ten bits otherwise
        plain, centred = sum(np.asarray(total(variables, images[part]), np.float64) for part in parts) / count
    return {"invariance_error": float(plain), "centred_invariance_error": float(centred)}
