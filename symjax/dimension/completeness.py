"""Is a symmetry missing? ``rank of the parameter Jacobian + dimension traced = number of parameters`` where none is."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from symjax.dimension.matrix_free import NullityEstimate, estimate_nullity
from symjax.dimension.row_space import Evidence, RowSpace

__all__ = ["Completeness", "complete"]

_FLOOR = 1e-10  # columns below this part of the largest are the rounding of autodiff
_NOISE = 1e-11  # and so are singular values
_ROWS = 5  # times as many rows as parameters at least, where the rank does not reach what is expected,
_IDLE_BATCHES = 4  # of which so many batches in a row must add nothing
_BATCHES = 8  # at least, of an estimate
_MEMORY = 2**33  # bytes
_SURE = 0.1  # an estimate of none missing with a larger error is not sure


class Completeness(NamedTuple):
    """What the rank of the parameter Jacobian says about the symmetries traced.

    Attributes:
      parameters: number of parameters that the outputs read, D.
      rank: of the Jacobian of the outputs over many inputs, r.
      traced: dimension of the continuous symmetries found, k.
      missing: ``D - r - k``; above 0 there are directions that change nothing and that no symmetry found explains.
      idle: parameters that no output depends on at these inputs (units that are never on), counted in ``missing``.
      rows: number of rows looked at; fewer than 5 D where the rank has reached ``D - k`` before.
      evidence: the singular values that decided the rank; None where it was estimated, by products with the Jacobian.
      estimate: of the directions missing, with its error, for models too large for a dense rank.
    """

    parameters: int
    rank: int
    traced: int
    missing: int
    idle: int
    rows: int
    evidence: Evidence | None
    estimate: NullityEstimate | None = None

    @property
    def complete(self) -> bool:
        """Whether none is missing, and the singular values, or the error of the estimate, are clear about it."""
        if self.estimate is not None:
            return self.missing == 0 and self.estimate.converged and self.estimate.error < _SURE
        return self.missing == 0 and not self.evidence.undetermined

    def __str__(self) -> str:
        counts = f"symmetries traced: {self.traced}; rank {self.rank}; {self.rank} + {self.traced}"
        unclear = self._doubt()
        if self.missing == 0:
            return f"{counts} = {self.parameters}, none missing{unclear}"
        idle = f", {self.idle} idle parameters among them" if self.idle else ""
        return f"{counts} = {self.parameters} - {self.missing}: {self.missing} unexplained{idle}{unclear}"

    def _doubt(self) -> str:
        if self.estimate is not None:
            most = "" if self.estimate.converged else ", at most, as not all steps converged"
            return f" (estimated: {self.estimate.nullity:.1f} +- {self.estimate.error:.1f} missing{most})"
        return f", but the gap of the singular values is {self.evidence.gap:.1g}" if self.evidence.undetermined else ""


def complete(found: Any, variables: Any, inputs: Any, key: jax.Array | None = None) -> Completeness:
    """Count the directions of the parameters that change the outputs, and compare with the symmetries traced.

    ``D = rank [d f(theta, x_i) / d theta] + dim(symmetries) + missing``

    The rank is that of a generic point of the architecture: parameters are moved at random near the given ones,
    epsilons of normalisations are zero, and inputs like the given ones are drawn until the rank reaches ``D - k`` or
    there are five times as many rows as parameters, of which the last batches added nothing. Units must be smooth or
    switch on the inputs: one that is always off, or always on, adds to what is missing at this point, and is no
    symmetry of the architecture.

    Models of more than some 14,000 parameters are estimated instead, by products with the Jacobian: the directions
    missing beyond the tangents traced, with the error (:mod:`~symjax.dimension.matrix_free`).

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) for the rank; the comparison is this library's own.

    Args:
      found: from :func:`symjax.tracing.symmetries`.
      variables: pytree of arrays.
      inputs: like the input that was traced; entries of an integer leaf (tokens) are drawn from those it has, so it
        should have all that matter.
      key: of the parameters and inputs; None takes key 0.

    Returns:
      The counts; ``print`` says them in a sentence.

    Raises:
      ValueError: variables or inputs of another structure, or outputs that are not finite.

    Example:
      >>> import symjax.tracing
      >>> def apply(variables, x):
      ...     return jnp.tanh(x @ variables["in"]) * (x @ variables["gate"]) @ variables["out"]
      >>> variables = {"in": jnp.ones((2, 3)), "gate": jnp.ones((2, 3)), "out": jnp.ones((3, 4))}
      >>> x = jnp.ones((5, 2))
      >>> print(complete(symjax.tracing.symmetries(apply, variables, x), variables, x))
      symmetries traced: 3; rank 21; 21 + 3 = 24, none missing
    """
    random = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)).ravel())
    with jax.enable_x64(True):
        outputs, vector, moved = _outputs(found, variables, random)
        count, traced = vector.size, found.dimension
        if 40 * count**2 > _MEMORY:
            return _estimated(found, outputs, vector, moved, _drawn(found, inputs, random), random)
        jacobian = jax.jit(jax.jacrev(outputs))
        space, ranks = RowSpace(count, _FLOOR, _NOISE), [0]
        for batch in _drawn(found, inputs, random):
            rows = np.asarray(jacobian(vector, batch))
            if not np.all(np.isfinite(rows)):
                raise ValueError("the model's outputs have derivatives that are not finite near these variables")
            space.add(rows)
            decided = space.evidence()
            ranks.append(decided.rank)
            stuck = len(ranks) > _IDLE_BATCHES and ranks[-1 - _IDLE_BATCHES] == ranks[-1]
            if decided.rank >= count - traced or (stuck and space.rows >= _ROWS * count):
                break
    missing = count - traced - decided.rank
    return Completeness(count, decided.rank, traced, missing, space.idle, space.rows, decided)


def _outputs(
    found: Any, variables: Any, random: np.random.Generator
) -> tuple[Callable[[jax.Array, list[Any]], jax.Array], jax.Array, Any]:
    """All outputs of the parameters read and an input, a generic point near the variables, and all variables there."""
    from symjax.tracing.program import evaluate
    from symjax.tracing.verify import matched, nearby, real

    program, given = found.model.program, matched(found, variables)
    leaves = {path: nearby(np.asarray(leaf), random) if real(leaf) else leaf for path, leaf in given.items()}
    read = [path for path, leaf in leaves.items() if real(leaf) and path not in found.unread]
    vector, restore = jax.flatten_util.ravel_pytree([jnp.asarray(leaves[path]) for path in read])
    moved = jax.tree.unflatten(jax.tree.structure(variables), list(leaves.values()))

    def outputs(flat: jax.Array, batch: list[Any]) -> jax.Array:
        whole = leaves | dict(zip(read, restore(flat), strict=True))
        outs = evaluate(program, list(whole.values()), batch, program.outputs, found.model.epsilons, jnp.float64)
        return jnp.concatenate([out.ravel() for out in outs if jnp.issubdtype(out.dtype, jnp.floating)])

    return outputs, vector, moved


def _estimated(
    found: Any,
    outputs: Callable,
    vector: jax.Array,
    moved: Any,
    drawn: Iterator[list[Any]],
    random: np.random.Generator,
) -> Completeness:
    """The counts by products with the Jacobian at five times as many rows as parameters, without writing it down."""
    batches = [next(drawn)]
    each = jax.eval_shape(outputs, vector, batches[0]).size
    batches += [next(drawn) for _ in range(max(_BATCHES, -(-_ROWS * vector.size // each)) - 1)]
    push = jax.jit(lambda v, batch: jax.jvp(lambda flat: outputs(flat, batch), (vector,), (v,))[1])
    pull = jax.jit(lambda u, batch: jax.vjp(lambda flat: outputs(flat, batch), vector)[1](u)[0])

    def product(v: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(push(jnp.asarray(v), batch)) for batch in batches])

    def transposed(u: np.ndarray) -> np.ndarray:
        parts = np.split(np.asarray(u), len(batches))
        return np.sum(
            [np.asarray(pull(jnp.asarray(part), batch)) for part, batch in zip(parts, batches, strict=True)], 0
        )

    rows = each * len(batches)
    if not np.all(np.isfinite(transposed(np.ones(rows)))):
        raise ValueError("the model's outputs have derivatives that are not finite near these variables")
    estimate = estimate_nullity(product, transposed, (rows, vector.size), random, known=_tangents(found, moved))
    missing = round(estimate.nullity)
    rank = vector.size - found.dimension - missing
    return Completeness(vector.size, rank, found.dimension, missing, 0, rows, None, estimate)


def _tangents(found: Any, moved: Any) -> np.ndarray | None:
    """Tangents (k, D) of the symmetries traced, in the parameters read; None where there is none."""
    from symjax.tracing.action import leaf_paths
    from symjax.tracing.verify import real

    if not found.dimension:
        return None
    symmetry = found.symmetry
    zero, shape = jax.flatten_util.ravel_pytree(symmetry.zero)
    read = [path for path, leaf in leaf_paths(moved)[0].items() if real(leaf) and path not in found.unread]

    @jax.jit
    def tangent(direction: jax.Array) -> jax.Array:
        def flow(s: jax.Array) -> jax.Array:
            leaves = leaf_paths(symmetry.flow(shape(s), moved))[0]
            return jnp.concatenate([leaves[path].ravel() for path in read])

        return jax.jvp(flow, (zero,), (direction,))[1]

    return np.stack([np.asarray(tangent(one)) for one in jnp.eye(zero.size)])


def _drawn(found: Any, inputs: Any, random: np.random.Generator) -> Iterator[list[Any]]:
    """Inputs like the given ones: normal numbers five times their size, so that units switch, and entries they have."""
    from symjax.tracing.verify import real

    given = [np.asarray(leaf) for leaf in jax.tree.leaves(inputs)]
    wanted = [value.shape for value in found.model.program.inputs]
    if [leaf.shape for leaf in given] != wanted:
        raise ValueError(f"inputs have shapes {[leaf.shape for leaf in given]}, but what was traced has {wanted}")
    while True:
        yield [
            5 * (np.sqrt(np.mean(np.square(leaf, dtype=np.float64))) or 1.0) * random.normal(size=leaf.shape)
            if real(leaf)
            else random.choice(leaf.ravel(), leaf.shape)
            for leaf in given
        ]
