"""How many independent quantities gradient flow conserves, counted by Lie brackets of the gradient fields."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from symjax.arguments import floating_tree, whole_number

__all__ = ["Count", "count", "independent_charges"]

_FROZEN = 1e-11  # columns below this part of the largest: parameters that no field moves
_VANISHING = 1e-10  # brackets below this part of the largest that could have been: rounding
_NOISE = 1e-11  # singular values below this part of the largest
_MORE = 10  # brackets of each depth beyond the number of parameters


class Count(NamedTuple):
    """What gradient flow conserves near a point, for a data set and all losses of a kind.

    Attributes:
      conserved: number of independent conserved quantities of the parameters that move.
      parameters: number of parameters, D.
      frozen: parameters that gradient flow never moves (units that are off on all data), which are not in
        ``conserved``.
      ranks: of the span of all brackets up to each depth.
      closed: whether the last depth added nothing; otherwise ``conserved`` is an upper bound.
      gap: of the singular values; below 1e3 the rank is a guess.
    """

    conserved: int
    parameters: int
    frozen: int
    ranks: tuple[int, ...]
    closed: bool
    gap: float

    @property
    def ambiguous(self) -> bool:
        """Whether the singular values have no clear gap."""
        return self.gap < 1e3

    def __str__(self) -> str:
        kept = f"gradient flow conserves {'' if self.closed else 'at most '}{self.conserved} quantities"
        frozen = f"; {self.frozen} parameters never move" if self.frozen else ""
        return kept + frozen + (f"; the gap of the singular values is only {self.gap:.1g}" if self.ambiguous else "")


def count(
    apply: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    key: jax.Array | None = None,
    *,
    loss: Literal["any", "cross-entropy"] = "any",
    at: Literal["nearby", "point"] = "nearby",
    depth: int = 5,
) -> Count:
    """Count the quantities that gradient flow conserves, whatever the targets.

    ``D - dim Lie(V)(theta)``, V the span of the fields ``grad_theta sum_k <c_k, f(theta, x_k)>``, Lie(V) what their
    brackets ``[g1, g2] = Dg2 g1 - Dg1 g2`` generate. Brackets of growing depth are drawn until the rank stays the same.

    Source: Marcotte, Gribonval, Peyre 2023 (arXiv 2307.00144), section 3; brackets by nested products with Jacobians.

    Args:
      apply: ``apply(params, x) -> outputs``, pure.
      params: pytree of floating arrays.
      x: all of the data: with few inputs more is conserved, for that data.
      key: of the fields and of the point; None takes key 0.
      loss: "any" takes every covector on the outputs; "cross-entropy" those that sum to 0 over the last axis.
      at: "nearby" moves the parameters at random first, to a generic point; "point" counts at the parameters.
      depth: of the longest bracket; 2 or 3 close all models tried.

    Returns:
      The count; ``print`` says it in a sentence. It is numerical evidence, local, and specific to the data. Where units
      or a softmax saturate, what moves the function by less than rounding counts as conserved: try smaller parameters.

    Raises:
      ValueError: parameters that are no floating arrays, a depth below 1, or an unknown word.

    Example:
      >>> def linear(params, x):
      ...     return x @ params["v"] @ params["u"]
      >>> params = {"v": jnp.ones((2, 3)), "u": jnp.ones((3, 2))}
      >>> print(count(linear, params, jax.random.normal(jax.random.key(0), (8, 2))))
      gradient flow conserves 6 quantities
    """
    depth = whole_number("depth", depth, 1)
    for name, word, words in (("loss", loss, ("any", "cross-entropy")), ("at", at, ("nearby", "point"))):
        if word not in words:
            raise ValueError(f"{name} is {word!r}, but must be one of {words}")
    from symjax.dimension.row_space import RowSpace

    random = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)).ravel())
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), floating_tree("params", params))
        theta, restore = jax.flatten_util.ravel_pytree(params)
        x = jax.tree.map(lambda leaf: _wide(jnp.asarray(leaf)), x)
        if at == "nearby":
            size = np.sqrt(np.mean(np.square(theta))) or 1.0
            theta = jnp.asarray(np.asarray(theta) + 0.3 * size * random.normal(size=theta.shape))
        shape = jax.eval_shape(lambda t: apply(restore(t), x), theta).shape

        def field(c: jax.Array) -> Callable[[jax.Array], jax.Array]:
            return jax.grad(lambda t: jnp.sum(c * apply(restore(t), x)))

        space, ranks = RowSpace(theta.size, _FROZEN, _NOISE), []
        for level in range(1, depth + 1):
            c = random.normal(size=(theta.size + _MORE, level, *shape))
            if loss == "cross-entropy":
                c = c - c.mean(-1, keepdims=True)
            values, terms = map(np.asarray, jax.jit(jax.vmap(lambda c: _bracket(field, c)(theta)))(c))
            lengths = np.linalg.norm(values, axis=1)
            space.add(values[lengths > _VANISHING * terms.max()])
            ranks.append(space.evidence().rank)
            closed = ranks[-1] == theta.size or ranks[-1:] == ranks[-2:-1]
            if closed:
                break
    left = theta.size - ranks[-1]
    return Count(left - space.idle, theta.size, space.idle, tuple(ranks), closed, space.evidence().gap)


def _bracket(
    field: Callable[[jax.Array], Callable], c: jax.Array
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """``[g_1, [g_2, ...]]`` of the fields with these covectors, and the size of the terms whose difference it is."""
    outer = field(c[0])
    if len(c) == 1:
        return lambda theta: (outer(theta), jnp.linalg.norm(outer(theta)))
    inner = _bracket(field, c[1:])

    def value(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jax.jvp(lambda t: inner(t)[0], (theta,), (outer(theta),))[1]
        second = jax.jvp(outer, (theta,), (inner(theta)[0],))[1]
        return first - second, jnp.linalg.norm(first) + jnp.linalg.norm(second)

    return value


def independent_charges(symmetry: Any, params: Any) -> int:
    """Count the independent charges of a symmetry at a point: the rank of their gradients in the parameters.

    Source: this library's own; compare it with :func:`count`.

    Args:
      symmetry: the flow and its zero, such as ``symjax.tracing.symmetries(...).symmetry``.
      params: what the flow acts on.

    Returns:
      An integer; what :func:`count` has more, no symmetry found explains.

    Example:
      >>> from symjax.symmetry import Symmetry
      >>> scaling = Symmetry(lambda s, p: {"u": p["u"] * jnp.exp(s), "v": p["v"] * jnp.exp(-s)}, jnp.zeros(3))
      >>> independent_charges(scaling, {"u": jnp.ones(3), "v": jnp.full(3, 2.0)})
      3
    """
    from symjax.conserved.charge import conserving
    from symjax.dimension.row_space import evidence

    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), floating_tree("params", params))
        wide = symmetry._replace(zero=jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), symmetry.zero))
        found = conserving(wide, params)
        theta, restore = jax.flatten_util.ravel_pytree(params)

        def values(flat: jax.Array) -> jax.Array:
            point = restore(flat)
            return jnp.concatenate([jnp.zeros(1), *(one.ravel() for one in found.halved(found.pair(point, point)))])

        rows = np.asarray(jax.jit(jax.jacrev(values))(theta))[1:]
    return evidence(rows, len(rows), _FROZEN, _NOISE).rank if len(rows) else 0


def _wide(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
