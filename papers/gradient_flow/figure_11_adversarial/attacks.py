"""Adversarial examples in the maximum norm: FGSM and PGD with an explicit range, against a network or an ensemble.

An attack is given the loss it climbs, so that the same code attacks a network (transfer to its ensembles), or an
ensemble through the mean of its members (adaptive).
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Loss = Callable[[Array, Array], Array]
"""``loss(images, labels) -> scalar``; a sum or a mean over the images: only the sign of its gradient is used."""

Range = tuple[float, float]


def fgsm(loss: Loss, images: Array, labels: Array, epsilon: Array | float, clip: Range) -> Array:
    """Move every pixel by epsilon up the loss.

    x' = clip(x + epsilon sign(grad loss(x)))

    Source: Goodfellow, Shlens & Szegedy, Explaining and harnessing adversarial examples, 2015; Zhao et al. 2023, Fig.
      11.
    Deviation: the range is the data's; the authors clip images of [-0.5, 0.5] to [0, 1].

    Args:
      loss: what is climbed.
      images: (n, ...) floats within the range.
      labels: (n,) integers.
      epsilon: at least 0, in units of the images; may be traced.
      clip: smallest and largest value that an attacked pixel may take.

    Returns:
      As images.

    Raises:
      ValueError: an empty range, or a negative epsilon.

    >>> x = fgsm(lambda x, y: (x * y).sum(), jnp.array([0.0, 0.45]), jnp.array([1, 1]), 0.1, (-0.5, 0.5))
    >>> print(x)
    [0.1 0.5]
    """
    return ascend(loss, images, images, labels, epsilon, epsilon, clip)


def pgd(
    loss: Loss,
    images: Array,
    labels: Array,
    key: Array,
    *,
    epsilon: Array | float,
    step: Array | float,
    iterations: int,
    clip: Range,
    start: Literal["random", "centre"] = "random",
) -> Array:
    """Climb the loss in small steps inside the ball of epsilon around every image.

    x_0 = clip(x + u), u uniform in [-epsilon, epsilon];  x_{k+1} = clip(ball(x_k + step sign(grad loss(x_k))))

    The steps are unrolled, not a compiled loop: the gradient of a convolution inside one is slow on CPU.

    Source: Madry et al., Towards deep learning models resistant to adversarial attacks, 2018; Zhao et al. 2023, Fig.
      11.

    Args:
      loss: what is climbed.
      images: (n, ...) floats within the range.
      labels: (n,) integers.
      key: of the random start.
      epsilon: radius of the ball in the maximum norm, at least 0.
      step: length of a step, at least 0.
      iterations: steps, static; 0 gives the start.
      clip: smallest and largest value that an attacked pixel may take.
      start: uniform in the ball, or the image itself.

    Returns:
      As images.

    Raises:
      ValueError: an empty range, a negative number, or an unknown start.
    """
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}, but must be at least 0")
    if start not in ("random", "centre"):
        raise ValueError(f"start is {start!r}, but must be 'random' or 'centre'")
    _check(clip, epsilon=epsilon, step=step)
    moved = images
    if start == "random":
        offset = jax.random.uniform(key, images.shape, images.dtype, -1.0, 1.0)
        moved = jnp.clip(images + jnp.asarray(epsilon, images.dtype) * offset, *clip)
    for _ in range(iterations):
        moved = ascend(loss, images, moved, labels, step, epsilon, clip)
    return moved


def ascend(
    loss: Loss,
    images: Array,
    moved: Array,
    labels: Array,
    step: Array | float,
    epsilon: Array | float,
    clip: Range,
) -> Array:
    """Make one step up the loss from `moved`, then project on the ball of epsilon around `images`, then on the range.

    Source: the step of Madry et al. 2018.

    Args:
      loss: what is climbed.
      images: (n, ...), the centres of the balls.
      moved: (n, ...), where the step starts.
      labels: (n,) integers.
      step: length of the step.
      epsilon: radius of the ball.
      clip: smallest and largest value that an attacked pixel may take.

    Returns:
      As images.
    """
    _check(clip, epsilon=epsilon, step=step)
    step, epsilon = jnp.asarray(step, images.dtype), jnp.asarray(epsilon, images.dtype)
    gradient = jax.grad(loss)(moved, labels)
    climbed = jnp.clip(moved + step * jnp.sign(gradient), images - epsilon, images + epsilon)
    return jnp.clip(climbed, *clip)


def ensemble_loss(member_logits: Array, labels: Array) -> Array:
    """Give -log of the mean probability of the label over members, summed over images: what an adaptive attack climbs.

    sum_x -log(1/G sum_i softmax(z_i(x))_y), by logarithms throughout: the gradient survives probabilities that
    underflow.

    Source: this project; the paper attacks the untransformed network only.

    Args:
      member_logits: (members, n, classes).
      labels: (n,) integers.

    Returns:
      A scalar.
    """
    own = jnp.take_along_axis(jax.nn.log_softmax(member_logits), labels[None, :, None], axis=2)[..., 0]
    return (jnp.log(jnp.asarray(len(own), own.dtype)) - jax.nn.logsumexp(own, axis=0)).sum()


def _check(clip: Range, **numbers: Array | float) -> None:
    if not clip[0] < clip[1]:
        raise ValueError(f"clip is {clip}, but its first number must be below the second")
    for name, value in numbers.items():
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name} is {value}, but must be at least 0")
