"""Which matrices commute with ReLU, and when an equivariant ReLU network is equivariant layer by layer: the theory."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accurate_array, accurate_arrays, is_concrete, scalar

__all__ = [
    "Counterexample",
    "PermutationRepresentation",
    "TwoLayers",
    "best_alignment",
    "commutes_with_relu",
    "counterexample",
    "normalise_representation",
    "two_layer_representation",
]


def commutes_with_relu(matrix: Any, tolerance: float = 0.0) -> jax.Array:
    """Say whether ``relu(A x) = A relu(x)`` for all x: every row has at most one entry, and that one is positive.

    For invertible matrices these are ``A = P D`` with a permutation P and a positive diagonal D, and no other pair
    ``relu(A x) = B relu(x)`` exists.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, after Wood & Shawe-Taylor 1996 and Godfrey et al. 2022.

    Args:
      matrix: array (..., n, n).
      tolerance: entries up to this size, relative to the largest of their matrix, count as zero.

    Returns:
      Booleans (...).

    Raises:
      ValueError: what is no square matrix of real numbers.

    Example:
      >>> print(commutes_with_relu([[0.0, 2.0], [3.0, 0.0]]), commutes_with_relu([[0.0, -2.0], [3.0, 0.0]]))
      True False
    """
    matrix = accurate_array("matrix", matrix)
    _require_square("matrix", matrix)
    return _commutes(matrix, scalar("tolerance", tolerance))


@partial(jax.jit, static_argnums=1)
def _commutes(matrix: jax.Array, tolerance: float) -> jax.Array:
    least = tolerance * jnp.max(jnp.abs(matrix), axis=(-2, -1), keepdims=True)
    entries = jnp.abs(matrix) > least
    return jnp.all((jnp.sum(entries, -1) <= 1) & jnp.all(~entries | (matrix > 0), -1), -1) & jnp.all(
        jnp.isfinite(matrix), (-2, -1)
    )


class PermutationRepresentation(NamedTuple):
    """A representation ``rho(g) = diag(scale) P(g) diag(1 / scale)`` of a finite group.

    Attributes:
      scale: array (n,), positive.
      permutations: integers (order, n): ``(P(g) x)[i] = x[permutations[g, i]]``.
      residual: largest entry of ``rho(g)`` less its reconstruction, relative to the largest of rho.
    """

    scale: jax.Array
    permutations: jax.Array
    residual: jax.Array


def normalise_representation(matrices: Any) -> PermutationRepresentation:
    """Rescale a representation that commutes with ReLU to one by permutations.

    ``M = mean_g rho(g)^T rho(g)`` is a positive diagonal, ``scale = M^(-1/2)``, ``P(g) = M^(1/2) rho(g) M^(-1/2)``.
    Rescaling ``W_j -> diag(1 / scale_j) W_j diag(scale_{j-1})``, biases alike, leaves the network as it is, so that
    hidden representations may be taken to be permutations.

    Source: derived for this library after Bökman & Kahl 2023, arXiv 2305.17017, section 2.

    Args:
      matrices: array (order, n, n), rho(g) of every element of a finite group.

    Returns:
      The scale and the permutations, with what is left over.

    Raises:
      ValueError: matrices of another shape, or known ones that do not commute with ReLU, the first named.

    Example:
      >>> found = normalise_representation([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 4.0], [0.25, 0.0]]])
      >>> print(found.permutations[1], float(found.scale[0] / found.scale[1]))
      [1 0] 4.0
    """
    matrices = accurate_array("matrices", matrices)
    _require_square("matrices", matrices, 3)
    if is_concrete(matrices):
        eps = float(jnp.finfo(matrices.dtype).eps)
        right = np.asarray(_commutes(matrices, 100 * eps)) & np.all(np.any(np.asarray(matrices) > 0, 1), -1)
        if not right.all():
            raise ValueError(f"matrices[{int(np.argmin(right))}] does not commute with ReLU, or is singular")
    return _normalise(matrices)


@jax.jit
def _normalise(matrices: jax.Array) -> PermutationRepresentation:
    squares = jnp.mean(jnp.sum(matrices**2, -2), 0)
    scale = squares**-0.5
    plain = matrices * (scale[None, None, :] / scale[None, :, None])
    permutations = jnp.argmax(plain, -1)
    exact = jax.nn.one_hot(permutations, matrices.shape[-1], dtype=matrices.dtype)
    again = exact * (scale[None, :, None] / scale[None, None, :])
    residual = jnp.max(jnp.abs(again - matrices)) / jnp.max(jnp.abs(matrices))
    return PermutationRepresentation(scale, permutations, residual)


class TwoLayers(NamedTuple):
    """How far a network of two layers is from being equivariant layer by layer.

    Attributes:
      hidden: array (order, m, m), the only representation rho_1 that the first layer allows.
      monomial: booleans (order,), whether it commutes with ReLU.
      second_layer_error: array (order,), ``|W_2 rho_1 - rho_2 W_2| / |W_2|``.
      layerwise: whether both layers are equivariant and ReLU between them.
    """

    hidden: jax.Array
    monomial: jax.Array
    second_layer_error: jax.Array
    layerwise: jax.Array


def two_layer_representation(first: Any, second: Any, inputs: Any, outputs: Any, tolerance: float = 1e-9) -> TwoLayers:
    """Check the theorem of two layers on ``f(x) = W_2 relu(W_1 x)`` with an invertible W_1.

    If f is equivariant, ``f(rho_0 x) = rho_2 f(x)``, and no column of W_2 is zero, f is equivariant layer by layer with
    ``rho_1 = W_1 rho_0 W_1^(-1)``, which has one positive entry in every row.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, the theorem of two layers; proof derived anew.

    Args:
      first: kernel (m, m) of the first layer, (in, out), so W_1 is its transpose; invertible.
      second: kernel (m, k).
      inputs: array (order, m, m), rho_0(g).
      outputs: array (order, k, k), rho_2(g).
      tolerance: relative size of entries and errors that count as zero.

    Returns:
      The hidden representation, and whether it is one.

    Raises:
      ValueError: shapes that do not fit, or a known first layer that is singular.

    Example:
      >>> swap, first = [[[0.0, 1.0], [1.0, 0.0]]], [[2.0, 0.0], [0.0, 1.0]]
      >>> print(two_layer_representation(first, [[1.0], [2.0]], swap, [[[1.0]]]).hidden[0])
      [[0.  2. ]
       [0.5 0. ]]
    """
    first, second, inputs, outputs = accurate_arrays(first=first, second=second, inputs=inputs, outputs=outputs)
    _require_square("first", first, 2)
    m, order = first.shape[0], inputs.shape[0]
    k = second.shape[-1]
    for name, array, shape in (
        ("second", second, (m, k)),
        ("inputs", inputs, (order, m, m)),
        ("outputs", outputs, (order, k, k)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, but must have shape {shape}")
    if is_concrete(first) and not np.linalg.cond(np.asarray(first)) < 0.01 / jnp.finfo(first.dtype).eps:
        raise ValueError("first is singular, but the theorem needs an invertible first layer")
    return _two_layers(first, second, inputs, outputs, scalar("tolerance", tolerance))


@partial(jax.jit, static_argnums=4)
def _two_layers(first: Any, second: Any, inputs: Any, outputs: Any, tolerance: float) -> TwoLayers:
    with jax.default_matmul_precision("highest"):
        hidden = first.T[None] @ inputs @ jnp.linalg.inv(first.T)[None]
        distance = second.T[None] @ hidden - outputs @ second.T[None]
    error = jnp.linalg.norm(distance, axis=(-2, -1)) / jnp.linalg.norm(second)
    monomial = _commutes(hidden, tolerance)
    return TwoLayers(hidden, monomial, error, jnp.all(monomial & (error <= tolerance)))


class Counterexample(NamedTuple):
    """Kernels (n, 2n) and (2n, n) of a network that is the identity: ``relu(x @ first) @ second = x``."""

    first: jax.Array
    second: jax.Array


def counterexample(matrix: Any) -> Counterexample:
    """A network that is equivariant for every representation, but layer by layer for next to none.

    ``x = A^(-1) [I, -I] relu([A; -A] x)``: the identity through 2n units. Between two layers of a deep network it
    changes nothing but destroys their layerwise equivariance, which needs ``[A; -A] rho(g)`` to have the rows of
    ``[A; -A]`` up to order and positive factors (:func:`best_alignment`).

    Source: derived for this library; Bökman & Kahl 2023, arXiv 2305.17017, give examples in this spirit.

    Args:
      matrix: A, array (n, n), invertible.

    Returns:
      The kernels, (in, out).

    Raises:
      ValueError: what is no square matrix, or a known one that is singular.

    Example:
      >>> import jax.numpy as jnp
      >>> first, second = counterexample([[2.0, 1.0], [0.0, 1.0]])
      >>> print(jnp.maximum(jnp.array([3.0, -4.0]) @ first, 0.0) @ second)
      [ 3. -4.]
    """
    matrix = accurate_array("matrix", matrix)
    _require_square("matrix", matrix, 2)
    if is_concrete(matrix) and not np.linalg.cond(np.asarray(matrix)) < 0.01 / jnp.finfo(matrix.dtype).eps:
        raise ValueError("matrix is singular, but must be invertible")
    inverse = jnp.linalg.inv(matrix)
    return Counterexample(jnp.concatenate([matrix.T, -matrix.T], 1), jnp.concatenate([inverse.T, -inverse.T], 0))


def best_alignment(kernel: Any, representation: Any) -> jax.Array:
    """For each unit, the largest cosine of its moved row with any unit's row; layerwise equivariance needs ones.

    ``max_j cos(w_i rho, w_j)``, where w_i are the units' weights: ``W rho`` must have the rows of W up to order and
    positive factors.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, the definition of layerwise equivariance.

    Args:
      kernel: array (m, units), (in, out).
      representation: array (m, m), rho(g) on the inputs.

    Returns:
      Array (units,), at most one.

    Raises:
      ValueError: shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> print(best_alignment(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.0, 1.0], [1.0, 0.0]])))
      [1. 1.]
    """
    kernel, representation = accurate_arrays(kernel=kernel, representation=representation)
    if kernel.ndim != 2 or representation.shape != (len(kernel), len(kernel)):
        raise ValueError(
            f"kernel has shape {kernel.shape} and representation {representation.shape}, but they must be (m, units) "
            "and (m, m)"
        )
    rows = kernel.T
    moved = jnp.matmul(rows, representation, precision="highest")
    lengths = jnp.linalg.norm(moved, axis=1)[:, None] * jnp.linalg.norm(rows, axis=1)[None]
    return jnp.max(jnp.matmul(moved, rows.T, precision="highest") / jnp.where(lengths > 0, lengths, 1), axis=1)


def _require_square(name: str, array: Any, ndim: int | None = None) -> None:
    fits = array.ndim >= 2 if ndim is None else array.ndim == ndim
    if not fits or array.shape[-1] != array.shape[-2] or not array.size:
        raise ValueError(f"{name} has shape {array.shape}, but must hold square matrices")
