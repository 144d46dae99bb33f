"""Transport of a hidden layer's readers by least squares on a batch: exact on at most h samples, and not an action.

``Pi = sigma(H) sigma(g H)^+`` replaces the readers' weights U by ``U Pi`` when the layer becomes ``g H``. Below full
rank the identity does not go to the identity (``Pi`` is a projection): diagnostics stand in for a group's laws.

One network for a batch of k samples: :func:`transport` with the batch (k, n), exact for k up to h; one sample is a
batch ``x[None]``. A network for each sample, exact for every sample and an action: :func:`symjax.data_dependent.bind`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax import activations
from symjax.actions import move_hidden
from symjax.activations import Activation
from symjax.arguments import accumulation_dtype, accurate_array, accurate_arrays, floating_tree, scalar, whole_number
from symjax.channels import Layer, require_layers
from symjax.magnitude import norm, power_of_two

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

    For a system of least squares do not multiply by it: at an ill-conditioned matrix that loses digits which the
    solution from the same singular values keeps, see :func:`transport_map`.

    Source: Zhao et al. 2023, appendix on ensembles (the authors' notebooks).
    Deviation: their least squares assume full rank on accelerators and give NaN for ill-conditioned elements.

    Args:
      matrix: array (..., m, n).
      rcond: singular values at most ``rcond`` times the largest are left out; 10 max(m, n) eps if None.

    Returns:
      The pseudo-inverse with its condition number and rank; for a matrix that is not finite they are NaN, infinite
      and 0.

    Raises:
      ValueError: fewer than two axes, an empty matrix, or an ``rcond`` that is no share.

    Example:
      >>> import jax.numpy as jnp
      >>> found = pseudo_inverse(jnp.array([[2.0, 0.0], [0.0, 0.0]]))
      >>> print(found.matrix[0, 0], found.condition, found.rank)
      0.5 inf 1
    """
    matrix = accurate_array("matrix", matrix)
    if matrix.ndim < 2:
        raise ValueError(f"matrix has shape {matrix.shape}, but must have at least two axes")
    if 0 in matrix.shape[-2:]:
        raise ValueError(f"matrix has shape {matrix.shape}, but needs at least one row and one column")
    return _pseudo_inverse(matrix, _share(rcond))


def transport_map(before: jax.Array, after: jax.Array, rcond: float | None = None) -> tuple[jax.Array, Inverse]:
    """Fit the map ``Pi = before after^+`` with ``Pi after = before``, of least norm among the best.

    With ``after = W S Z^T`` it is ``((before Z) S^-1) W^T``: Z meets ``before`` first, no pseudo-inverse is formed.
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
      ValueError: shapes that differ, or no sample.

    Example:
      >>> import jax.numpy as jnp
      >>> fitted, inverse = transport_map(jnp.array([[1.0], [0.0]]), jnp.array([[0.0], [2.0]]))  # one sample
      >>> print(fitted, inverse.rank)
      [[0.  0.5]
       [0.  0. ]] 1
    """
    before, after = accurate_arrays(before=before, after=after)
    if before.ndim != 2 or before.shape != after.shape or before.size == 0:
        raise ValueError(f"before {before.shape} and after {after.shape} must be of one shape (h, samples), not empty")
    return _transport_map(before, after, _share(rcond))


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
      layers: tuple of ``Layer(kernel, bias)``; half precision is moved in float32 and rounded once.
      x: a batch (k, n) of inputs; one sample is ``x[None]``.
      activation: an activation or its name, between all layers.
      hidden: which hidden layer, from 0.
      rcond: as in :func:`pseudo_inverse`.

    Returns:
      The transport with its diagnostics; never NaN in silence: after an overflow the map is NaN, the residual and the
      condition infinite and the rank 0.

    Raises:
      ValueError: shapes that do not compose, or no such hidden layer.

    Example:
      >>> import jax.numpy as jnp
      >>> layers = (Layer(jnp.eye(2), jnp.zeros(2)), Layer(jnp.ones((2, 1)), jnp.zeros(1)))
      >>> g, batch = jnp.array([[2.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0, 3.0], [2.0, 1.0]])
      >>> moved = transport(g, layers, batch, "linear")
      >>> print((batch @ moved.layers[0].kernel @ moved.layers[1].kernel).T.round(4), moved.rank)
      [[4. 3.]] 2
      >>> int(transport(g, layers, batch[:1], "linear").rank)  # one sample: kept too, by a map of rank one
      1
    """
    layers = floating_tree("layers", tuple(layers))
    x, g = accurate_array("x", x), accurate_array("g", g)
    require_layers(layers)
    if not 0 <= whole_number("hidden", hidden, 0) < len(layers) - 1:
        raise ValueError(f"hidden is {hidden}, but the network has hidden layers 0 to {len(layers) - 2}")
    h = jnp.shape(layers[hidden].kernel)[1]
    if jnp.shape(g) != (h, h):
        raise ValueError(f"g has shape {jnp.shape(g)}, but the hidden layer {hidden} needs ({h}, {h})")
    inputs = jnp.shape(layers[0].kernel)[0]
    if jnp.ndim(x) != 2 or jnp.shape(x)[1] != inputs or jnp.shape(x)[0] == 0:
        raise ValueError(
            f"x has shape {jnp.shape(x)}, but must be (samples, {inputs}), with at least one sample, x[None]"
        )
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves((layers, x))))
    wide, x = jax.tree.map(lambda leaf: leaf.astype(dtype), (layers, x))
    found = _transport(g, wide, x, hidden, _share(rcond), activation=activations.get(activation))
    kept = jax.tree.map(lambda moved, given: moved.astype(given.dtype), found.layers, layers)
    return found._replace(layers=kept)


def _share(rcond: float | None) -> float | None:
    if rcond is None:
        return None
    value = scalar("rcond", rcond)
    if not 0 <= value < 1:
        raise ValueError(f"rcond is {value:g}, but must be a share of the largest singular value: from 0 to below 1")
    return value


class _Factors(NamedTuple):
    """Singular values and vectors of a matrix, zeros in the place of one that is not finite, and what is kept."""

    left: jax.Array
    values: jax.Array
    right: jax.Array
    kept: jax.Array
    finite: jax.Array


def _factors(matrix: jax.Array, rcond: float | None) -> _Factors:
    finite = jnp.all(jnp.isfinite(matrix), axis=(-2, -1))
    # LAPACK complains aloud about what is not finite
    u, s, vt = jnp.linalg.svd(jnp.where(finite[..., None, None], matrix, 0), full_matrices=False)
    least = 10 * max(matrix.shape[-2:]) * jnp.finfo(s.dtype).eps if rcond is None else rcond
    return _Factors(u, s, jnp.swapaxes(vt, -2, -1), s > least * s[..., :1], finite)


def _inverse_of(factors: _Factors) -> Inverse:
    left, values, right, kept, finite = factors
    reciprocal = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    found = _product(right, reciprocal[..., None] * jnp.swapaxes(left, -2, -1))
    found = jnp.where(finite[..., None, None], found, jnp.nan)
    return Inverse(found, _condition(values), kept.sum(-1, dtype=jnp.int32))


@partial(jax.jit, static_argnums=1)
def _pseudo_inverse(matrix: jax.Array, rcond: float | None) -> Inverse:
    return _inverse_of(_factors(matrix, rcond))


@partial(jax.jit, static_argnums=2)
def _transport_map(before: jax.Array, after: jax.Array, rcond: float | None) -> tuple[jax.Array, Inverse]:
    factors = _factors(after, rcond)
    left, values, right, kept, finite = factors
    shares = jnp.where(kept[None], _product(before, right) / jnp.where(kept, values, 1)[None], 0)
    return jnp.where(finite, _product(shares, left.T), jnp.nan), _inverse_of(factors)


def _condition(s: jax.Array) -> jax.Array:
    smallest = s[..., -1]
    return jnp.where(smallest > 0, s[..., 0] / jnp.where(smallest > 0, smallest, 1), jnp.inf)


@partial(activations.compiled, static=("hidden", "rcond"))
def _transport(
    g: jax.Array, layers: tuple[Layer, ...], x: jax.Array, hidden: int, rcond: float | None, activation: Activation
) -> Transport:
    sigma, rows = activation.function, x
    for kernel, bias in layers[:hidden]:
        rows = sigma((_product(rows, kernel) + bias[None]).T).T
    kernel, bias = layers[hidden]
    pre = (_product(rows, kernel) + bias[None]).T
    before, after = sigma(pre), sigma(_product(g.astype(pre.dtype), pre))
    fitted, inverse = _transport_map(before, after, rcond)
    moved = move_hidden(layers, hidden, g, fitted)
    # Beyond the range of the dtype nothing is known of the residual: zero over zero must not look exact.
    scale = power_of_two(before)
    size = norm(before / scale)
    residual = norm(_product(fitted, after) / scale - before / scale) / jnp.where(size > 0, size, 1)
    residual = jnp.where(jnp.isnan(residual), jnp.inf, residual)
    singular = jnp.linalg.svd(jnp.where(jnp.all(jnp.isfinite(g)), g, jnp.zeros_like(g)), compute_uv=False)
    return Transport(moved, fitted, _condition(singular), inverse.condition, residual, inverse.rank)
