"""What is asked of a flow, its arguments and its results, for :mod:`symjax.symmetry`.

A flow's zero is the identity; structures and shapes agree; sums are made in at least float32 and stay in its range.
What is traced is checked by structure and shape alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, floating_tree, is_concrete

__all__ = [
    "at_zero",
    "near_one",
    "require_like",
    "require_range",
    "require_symmetry",
    "sum_dtype",
    "sum_of_squares",
    "widen",
    "widen_both",
]

Params = Any
Coordinates = Any


def require_symmetry(name: str, symmetry: Any) -> None:
    if not callable(getattr(symmetry, "flow", None)) or not hasattr(symmetry, "zero"):
        raise ValueError(f"{name} is a {type(symmetry).__name__}, but must be a Symmetry(flow, zero)")


def at_zero(symmetry: Any, params: Params) -> tuple[Coordinates, Params]:
    """The zero and the parameters as floating arrays; the contract of the flow is checked where it can be looked at."""
    require_symmetry("symmetry", symmetry)
    zero, params = floating_tree("symmetry.zero", symmetry.zero), floating_tree("params", params)
    if not is_concrete(zero, params):
        return zero, params
    with jax.ensure_compile_time_eval():  # concrete parameters inside somebody's jit
        moved = symmetry.flow(zero, params)
    if jax.tree.structure(moved) != jax.tree.structure(params) or _shapes(moved) != _shapes(params):
        raise ValueError("symmetry.flow gives parameters of another structure or other shapes than it is given")
    if not is_concrete(moved):  # inside a compiled function even the known is traced
        return zero, params
    for (path, leaf), after in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(moved), strict=True):
        before, after = np.asarray(leaf, np.float64), np.asarray(after, np.float64)
        size = np.max(np.abs(before), initial=0.0, where=np.isfinite(before))
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        with np.errstate(invalid="ignore"):
            near = np.abs(after - before) <= 1e3 * float(jnp.finfo(leaf.dtype).eps) * size
        if not np.all(same | near):
            raise ValueError(
                f"symmetry.flow moves params{jax.tree_util.keystr(path)} at symmetry.zero, but its zero must be the "
                "identity"
            )
    return zero, params


def require_like(name: str, tree: Any, other: str, like: Any, keep: bool = False) -> Any:
    """A pytree of floating arrays of another's structure and shapes, and unless ``keep`` of its dtypes."""
    tree = floating_tree(name, tree)
    if jax.tree.structure(tree) != jax.tree.structure(like):
        raise ValueError(f"{name} has another tree structure than {other}: it must have the same leaves")
    for (path, leaf), other_leaf in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True):
        if leaf.shape != other_leaf.shape:
            where = jax.tree_util.keystr(path)
            raise ValueError(f"{name}{where} has shape {leaf.shape}, but {other}{where} has {other_leaf.shape}")
    return tree if keep else jax.tree.map(lambda leaf, one: leaf.astype(one.dtype), tree, like)


def widen(leaf: jax.Array) -> jax.Array:
    return leaf.astype(accumulation_dtype(leaf.dtype))


def widen_both(leaf: jax.Array, other: jax.Array) -> jax.Array:
    return leaf.astype(accumulation_dtype(leaf.dtype, other.dtype))


def sum_dtype(tree: Any) -> Any:
    return accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(tree)))


def sum_of_squares(tree: Any) -> jax.Array:
    dtype = sum_dtype(tree)
    parts = [jnp.sum(jnp.square(widen(leaf))).astype(dtype) for leaf in jax.tree.leaves(tree)]
    return sum(parts, jnp.zeros((), dtype))


def require_range(what: str, result: Any, inputs: Any, again: Callable[[], Any] | None = None) -> None:
    """Refuse a concrete result that left the range of its dtype although what entered is finite.

    ``again`` gives the same for inputs near 1; where it is not zero, a result that is zero everywhere has been lost.
    """
    if not is_concrete(result, inputs):
        return
    values, entered = ([np.asarray(leaf) for leaf in jax.tree.leaves(tree)] for tree in (result, inputs))
    sizes = [float(np.max(np.abs(leaf.astype(np.float64)), initial=0.0)) for leaf in entered]
    if not np.isfinite(sizes).all():
        return
    finite, held = (all(test(value).all() for value in values) for test in (np.isfinite, lambda value: value == 0))
    lost = held and again is not None and any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(again()))
    if lost or not finite:
        raise ValueError(
            f"the {what} is too {'small' if lost else 'large'} for {values[0].dtype}: the largest entry that enters is "
            f"{max(sizes):.3g}; multiply it by a power of two, or use float64"
        )


def near_one(tree: Any) -> Any:
    """A pytree divided by one power of two of the size of its largest entry: what cancels exactly still does."""
    leaves = [widen(leaf) for leaf in jax.tree.leaves(tree)]
    largest = max((float(np.max(np.abs(np.asarray(leaf, np.float64)), initial=0.0)) for leaf in leaves), default=0.0)
    exponent = int(np.frexp(largest)[1]) if largest > 0 else 0
    # halves of the exponent: the factor itself may be out of the dtype's range
    first, second = exponent // 2, exponent - exponent // 2
    return jax.tree.map(lambda leaf: widen(leaf) * float(2.0**-first) * float(2.0**-second), tree)


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
