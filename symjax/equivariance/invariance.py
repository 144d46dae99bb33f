"""How far a function is from being invariant: the error, and the loss that asks for less of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from symjax.arguments import accurate_arrays
from symjax.equivariance.groups import SpatialGroup
from symjax.magnitude import norm, power_of_two

__all__ = ["invariance_error", "invariance_loss"]


def invariance_error(outputs: Any, moved: Any, *, centred: bool = False) -> jax.Array:
    """Distance of outputs of inputs and of moved inputs, relative to their mean size.

    ``|y - y'| / (|y| / 2 + |y'| / 2)``, zero where both vanish, with a gradient of zero where they agree.

    Of logits this is not a property of the classifier: one constant added to all of them, which a softmax does not see,
    makes the error as small as one likes, and a network trained on it adds such a constant. ``centred`` takes the mean
    over k off first, and is untouched by it.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, the invariance error. Deviation: ``centred``.

    Args:
      outputs: array (..., k).
      moved: array of the same shape.
      centred: whether ``y - mean(y)`` is compared in place of ``y``; of one output nothing is left of it.

    Returns:
      Array (...), between 0 and 2.

    Raises:
      ValueError: arrays of different shapes.

    Example:
      >>> print(invariance_error([[3.0, 4.0]], [[0.0, 5.0]]).round(4))
      [0.6325]
      >>> print(invariance_error([[1003.0, 1004.0]], [[1000.0, 1005.0]]).round(4))
      [0.0022]
      >>> print(invariance_error([[1003.0, 1004.0]], [[1000.0, 1005.0]], centred=True).round(4))
      [1.3333]
    """
    outputs, moved = accurate_arrays(outputs=outputs, moved=moved)
    if outputs.shape != moved.shape or outputs.ndim < 1:
        raise ValueError(f"outputs have shape {outputs.shape} and moved ones {moved.shape}, but must be alike")
    if centred:
        outputs, moved = (y - y.mean(-1, keepdims=True) for y in (outputs, moved))
    scale = power_of_two(jnp.stack([outputs, moved]), axis=(0, -1))[..., None]  # the error has no scale, its squares do
    outputs, moved = outputs / scale, moved / scale
    size = (norm(outputs, -1) + norm(moved, -1)) / 2
    return norm(outputs - moved, -1) / jnp.where(size > 0, size, 1)


def invariance_loss(
    apply: Callable[[Any, Any], Any],
    variables: Any,
    x: Any,
    group: SpatialGroup,
    axes: tuple[int, int] = (1, 2),
    *,
    centred: bool = False,
) -> jax.Array:
    """Mean invariance error over inputs and the elements of a group, to be added to a training loss.

    ``mean_x mean_{g != e} |f(x) - f(g x)| / (|f(x)| / 2 + |f(g x)| / 2)``. All images pass in one batch, so that a
    normalisation by the batch sees them together; the gradient goes through both.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, the invariance loss (one flip). Deviation: any finite group.

    Args:
      apply: ``apply(variables, x)`` -> array (n, k).
      variables: whatever ``apply`` takes.
      x: array (n, height, width, channels).
      group: what the outputs should not notice.
      axes: of height and width.
      centred: whether logits less their mean are compared, see :func:`invariance_error`.

    Returns:
      A scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.equivariance import flip_group
      >>> x = jnp.arange(8.0).reshape(2, 1, 4, 1)
      >>> print(invariance_loss(lambda v, x: x.sum((1, 2)), None, x, flip_group()))
      0.0
    """
    x = jnp.asarray(x)
    moved = [jnp.moveaxis(group.act(g, jnp.moveaxis(x, axes, (-2, -1))), (-2, -1), axes) for g in range(group.order)]
    outputs = apply(variables, jnp.concatenate(moved))
    first, *others = jnp.split(outputs, group.order)
    return jnp.mean(jnp.stack([invariance_error(first, other, centred=centred) for other in others]))
