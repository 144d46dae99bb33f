"""Transport of a hidden layer's readers by least squares on a batch: exact on at most h samples, and not an action.

``Pi = sigma(H) sigma(g H)^+`` replaces the readers' weights U by ``U Pi`` when the layer becomes ``g H``. Below full
rank the identity does not go to the identity (``Pi`` is a projection): diagnostics stand in for a group's laws.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax import activations
from symjax.actions import move_hidden, require_floating
from symjax.activations import Activation
from symjax.channels import Layer, require_layers

__all__ = ["Inverse", "Transport", "pseudo_inverse", "transport", "transport_map"]

_product = partial(jnp.matmul, precision="highest")


class Inverse(NamedTuple):
    """A pseudo-inverse, batched as the matrix was.

    Attributes:
      matrix: (..., n, m) of a matrix (..., m, n).
      condition: largest over smallest singular value, infinite for a singular matrix.
      rank: number of singular values that were kept, int32.
    """

    matrix: jax.Array
    condition: jax.Array
    rank: jax.Array


class Transport(NamedTuple):
    """A transported network and how far it may be trusted.

    Attributes:
      layers: the network with the hidden layer moved by g and its readers by ``map``.
      map: ``Pi``, (h, h).
      condition_of_element: condition number of g, infinite for a singular g or one that is not finite; beyond about
        1/eps it only says singular.
      condition: of ``sigma(g H)``.
      residual: ``|Pi sigma(g H) - sigma(H)| / |sigma(H)|`` (Frobenius): what the batch itself loses; infinite where
        something overflowed.
      rank: of ``sigma(g H)``; the batch is kept exactly if it equals the number of samples.
    """

    layers: tuple[Layer, ...]
    map: jax.Array
    condition_of_element: jax.Array
    condition: jax.Array
    residual: jax.Array
    rank: jax.Array


def pseudo_inverse(matrix: jax.Array, rcond: float | None = None) -> Inverse:
    """Invert by singular values, leaving out the small ones: finite whatever the rank.

    Source: Zhao et al. 2023, appendix on ensembles (the authors' notebooks).
    Deviation: their least squares assume full rank on accelerators and give NaN for ill-conditioned elements.

    Args:
      matrix: array (..., m, n), floating.
      rcond: singular values at most ``rcond`` times the largest are left out; 10 max(m, n) eps if None.

    Returns:
      The pseudo-inverse with its condition number and rank; for a matrix that is not finite they are NaN, infinite
      and 0.

    Raises:
      ValueError: fewer than two axes.

    Example:
      >>> import jax.numpy as jnp
      >>> found = pseudo_inverse(jnp.array([[2.0, 0.0], [0.0, 0.0]]))
      >>> print(found.matrix[0, 0], found.condition, found.rank)
      0.5 inf 1
    """
    if jnp.ndim(matrix) < 2:
        raise ValueError(f"matrix has shape {jnp.shape(matrix)}, but must have at least two axes")
    require_floating("matrix", matrix)
    return _pseudo_inverse(matrix, rcond)


def transport_map(before: jax.Array, after: jax.Array, rcond: float | None = None) -> tuple[jax.Array, Inverse]:
    """Fit the map ``Pi = before after^+`` with ``Pi after = before``, of least norm among the best.

    Where samples are rows, as in a batch of a network, give the transposes: the map by which the rows are multiplied
    from the right is the transpose of the result.

    Source: Zhao et al. 2023, appendix on ensembles.

    Args:
      before: activations (h, k), columns are samples.
      after: activations (h, k) in their place.
      rcond: as in :func:`pseudo_inverse`.

    Returns:
      ``(map (h, h), pseudo-inverse of after)``.

    Raises:
      ValueError: shapes that differ.
    """
    if jnp.ndim(before) != 2 or jnp.shape(before) != jnp.shape(after):
        raise ValueError(f"before {jnp.shape(before)} and after {jnp.shape(after)} must be of one shape (h, samples)")
    inverse = pseudo_inverse(after, rcond)
    return _product(before, inverse.matrix), inverse


def transport(
    g: jax.Array,
    layers: tuple[Layer, ...],
    x: jax.Array,
    activation: str | Activation,
    hidden: int = 0,
    rcond: float | None = None,
) -> Transport:
    """Move one hidden layer by g and its readers by the map fitted on a batch.

    ``W -> g W``, ``b -> g b``, ``U -> U sigma(H) sigma(g H)^+`` with H the layer's pre-activations on the batch. With k
    samples and rank k the outputs of the batch are unchanged; k must be at most h for that. Composition holds at full
    column rank. The identity is kept for k = h only: below, Pi is the projection onto the span of ``sigma(H)``.

    Source: Zhao et al. 2023, appendix on ensembles (both of the authors' notebooks).
    Deviation: singular values instead of their least squares, see :func:`pseudo_inverse`.

    Args:
      g: array (h, h).
      layers: tuple of ``Layer(kernel, bias)``.
      x: a batch (k, n) of inputs.
      activation: an activation or its name, between all layers.
      hidden: which hidden layer, from 0.
      rcond: as in :func:`pseudo_inverse`.

    Returns:
      The transport with its diagnostics; never NaN in silence: after an overflow the map is NaN, the residual and the
      condition infinite and the rank 0.

    Raises:
      ValueError: shapes that do not compose, or no such hidden layer.
    """
    if not 0 <= hidden < len(layers) - 1:
        raise ValueError(f"hidden is {hidden}, but the network has hidden layers 0 to {len(layers) - 2}")
    h = jnp.shape(layers[hidden].kernel)[1]
    if jnp.shape(g) != (h, h):
        raise ValueError(f"g has shape {jnp.shape(g)}, but the hidden layer {hidden} needs ({h}, {h})")
    require_floating("g", g)
    inputs = jnp.shape(layers[0].kernel)[0]
    if jnp.ndim(x) != 2 or jnp.shape(x)[1] != inputs or jnp.shape(x)[0] == 0:
        raise ValueError(f"x has shape {jnp.shape(x)}, but must be (samples, {inputs}), with at least one sample")
    require_layers(layers, inputs)
    return _transport(g, tuple(layers), x, activations.get(activation), hidden, rcond)


@partial(jax.jit, static_argnums=1)
def _pseudo_inverse(matrix: jax.Array, rcond: float | None) -> Inverse:
    finite = jnp.all(jnp.isfinite(matrix), axis=(-2, -1))
    # LAPACK complains aloud about what is not finite
    u, s, vt = jnp.linalg.svd(jnp.where(finite[..., None, None], matrix, 0), full_matrices=False)
    least = 10 * max(matrix.shape[-2:]) * jnp.finfo(s.dtype).eps if rcond is None else rcond
    kept = s > least * s[..., :1]
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    found = _product(jnp.swapaxes(vt, -2, -1), inverse[..., None] * jnp.swapaxes(u, -2, -1))
    found = jnp.where(finite[..., None, None], found, jnp.nan)
    return Inverse(found, _condition(s), kept.sum(-1, dtype=jnp.int32))


def _condition(s: jax.Array) -> jax.Array:
    smallest = s[..., -1]
    return jnp.where(smallest > 0, s[..., 0] / jnp.where(smallest > 0, smallest, 1), jnp.inf)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _transport(
    g: jax.Array, layers: tuple[Layer, ...], x: jax.Array, activation: Activation, hidden: int, rcond: float | None
) -> Transport:
    sigma, rows = activation.function, x
    for kernel, bias in layers[:hidden]:
        rows = sigma((_product(rows, kernel) + bias[None]).T).T
    kernel, bias = layers[hidden]
    pre = (_product(rows, kernel) + bias[None]).T
    before, after = sigma(pre), sigma(_product(g.astype(pre.dtype), pre))
    fitted, inverse = transport_map(before, after, rcond)
    moved = move_hidden(layers, hidden, g, fitted)
    size = jnp.linalg.norm(before)
    residual = jnp.linalg.norm(_product(fitted, after) - before) / jnp.where(size > 0, size, 1)
    residual = jnp.where(jnp.isnan(residual), jnp.inf, residual)
    singular = jnp.linalg.svd(jnp.where(jnp.all(jnp.isfinite(g)), g, jnp.zeros_like(g)), compute_uv=False)
    return Transport(moved, fitted, _condition(singular), inverse.condition, residual, inverse.rank)
