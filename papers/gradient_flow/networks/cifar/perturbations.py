"""The five perturbations of a hidden layer: a member of an ensemble replaces sigma(h) by sigma(h lower) upper.

Samples are rows. Only ``group`` is a symmetry of the function on the member's own batch; the others are the authors'
controls.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import expm

from papers.gradient_flow.networks.cifar.config import GroupActivation
from papers.gradient_flow.networks.cifar.network import ACTIVATIONS
from symjax.transport import Inverse, pseudo_inverse

NOISE = 1e-4
"""Standard deviation of what is added to the pre-activations before the upper maps are fitted."""


class Perturbations(NamedTuple):
    """The maps of every kind and member, and how well they are known.

    Attributes:
      lower: (kinds, members, h, h), acts on the pre-activations.
      upper: (kinds, members, h, h), acts on the activations.
      condition: (kinds, members), of the matrix that ``upper`` inverts: sigma(H g) for group and shuffle, ``lower`` for
        inverse and interpolated_permutation, 1 for random, which inverts nothing; may be infinite.
      residual: (kinds, members), |sigma(H lower) upper - sigma(H)| / |sigma(H)| on the member's own batch; 0 for an
        exact symmetry of the batch.
      rank: (kinds, members), numerical rank of that matrix.
    """

    lower: Array
    upper: Array
    condition: Array
    residual: Array
    rank: Array


def draw(key: Array, epsilon: Array | float, batches: Array, activation: GroupActivation) -> Perturbations:
    """Draw all five perturbations of every member, from the same group elements.

    g_i = expm(epsilon T_i), T_i of independent normal entries over sqrt(h); the upper map is

        group                     sigma(H_i g_i)^+ sigma(H_i)
        interpolated_permutation  g^+ with g = (I + epsilon (I + P_i) / 2) / (1 + epsilon), P_i a permutation
        inverse                   g_i^+
        random                    I + epsilon U_i, entries of U_i uniform in [0, 1)
        shuffle                   the group's maps, their members and rows permuted

    Source: Zhao et al. 2023, Figure 10 (the authors' notebook): the ensemble on CIFAR-10 and its controls. The upper
    map of ``group`` is the pseudo-inverse (batch) form of the action, exact on a batch of at most h samples.
    Deviation: T_i depends on the key and the member alone, so that all epsilons and ensemble sizes of a seed use the
    same directions; the authors draw everything anew at each point. Pseudo-inverses by singular values, truncated at
    10 h times the machine epsilon: the authors' least squares assume full rank and give NaN at epsilon = 20.

    Args:
      key: of the draw.
      epsilon: the strength, at least 0.
      batches: pre-activations H_i, (members, b, h), of each member's own batch; their dtype is used throughout.
      activation: the group activation's name.

    Returns:
      The maps, the axis of kinds in the order of :data:`papers.gradient_flow.networks.cifar.config.KINDS`.

    Raises:
      ValueError: batches that are not of three axes, or an unknown activation.

    >>> found = draw(jax.random.key(0), 0.1, jnp.ones((3, 2, 2)), "leaky_relu")
    >>> found.lower.shape, found.residual.shape
    ((5, 3, 2, 2), (5, 3))
    """
    if batches.ndim != 3:
        raise ValueError(f"batches have the shape {batches.shape}, but must be (members, images, h)")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, but must be one of {', '.join(ACTIVATIONS)}")
    drawn = _sample(key, *batches.shape, batches.dtype)
    elements = _elements(drawn, jnp.asarray(epsilon, batches.dtype))
    moved = _target(elements.g, batches, drawn.noise, activation)
    inverses = tuple(pseudo_inverse(matrix) for matrix in (moved, elements.g, elements.mixed))
    return _assemble(batches, drawn, elements, *inverses, activation)


class _Drawn(NamedTuple):
    """All random numbers: normal over sqrt(h), permutations, uniform in [0, 1), normal, and two orders."""

    t: Array
    p: Array
    u: Array
    noise: Array
    members: Array
    rows: Array


class _Elements(NamedTuple):
    """Group elements, interpolated permutations and the random upper maps, each (members, h, h)."""

    g: Array
    mixed: Array
    random: Array


# Small programs, so that what compiles slowly (random numbers, the exponential) is compiled once for both activations.
@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _sample(key: Array, members: int, images: int, h: int, dtype: jnp.dtype) -> _Drawn:
    one = jnp.asarray(1, dtype)
    block = jax.random.uniform(key, (members, 2 * h + images + 2, h), dtype, jnp.nextafter(-one, 0 * one), one)
    t, u, noise, order = jnp.split(block, (h, 2 * h, 2 * h + images), axis=1)
    p = jnp.eye(h, dtype=dtype)[jnp.argsort(order[:, 0])]
    # the normal quantile, as jax.random.normal has it
    normal = jax.scipy.special.erfinv(t) * jnp.sqrt(jnp.asarray(2 / h, dtype))
    noise = jax.scipy.special.erfinv(noise) * jnp.sqrt(2 * one)
    return _Drawn(normal, p, (u + 1) / 2, NOISE * noise, jnp.argsort(order[:, 1, 0]), jnp.argsort(order[0, 1]))


@jax.jit
def _elements(drawn: _Drawn, epsilon: Array) -> _Elements:
    identity = jnp.eye(drawn.t.shape[-1], dtype=drawn.t.dtype)[None]
    # one after the other: vmap would compute the approximations of every order for every member
    g = jax.lax.map(lambda t: expm(epsilon * t), drawn.t)
    mixed = (identity + epsilon / 2 * (identity + drawn.p)) / (1 + epsilon)
    return _Elements(g, mixed, identity + epsilon * drawn.u)


@partial(jax.jit, static_argnums=3)
def _target(lower: Array, batches: Array, noise: Array, activation: GroupActivation) -> Array:
    return ACTIVATIONS[activation]((batches + noise) @ lower)


@partial(jax.jit, static_argnums=6)
def _assemble(
    batches: Array,
    drawn: _Drawn,
    elements: _Elements,
    of_moved: Inverse,
    of_g: Inverse,
    of_mixed: Inverse,
    activation: GroupActivation,
) -> Perturbations:
    noisy, sigma = batches + drawn.noise, ACTIVATIONS[activation]
    target = sigma(noisy)
    fitted = of_moved.matrix @ target
    misplaced = fitted[drawn.members][:, drawn.rows]
    one, full = jnp.ones_like(of_moved.condition), jnp.full_like(of_moved.rank, batches.shape[-1])
    lower = jnp.stack([elements.g, elements.mixed, elements.g, elements.g, elements.g])
    upper = jnp.stack([fitted, of_mixed.matrix, of_g.matrix, elements.random, misplaced])
    condition = jnp.stack([of_moved.condition, of_mixed.condition, of_g.condition, one, of_moved.condition])
    rank = jnp.stack([of_moved.rank, of_mixed.rank, of_g.rank, full, of_moved.rank])
    error = jnp.linalg.norm(sigma(noisy[None] @ lower) @ upper - target[None], axis=(-2, -1))
    return Perturbations(lower, upper, condition, error / jnp.linalg.norm(target, axis=(-2, -1))[None], rank)
