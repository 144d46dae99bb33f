"""Group elements acting on variables: a term of an axis is its own action.

Written for any array namespace: jax arrays where one differentiates, NumPy arrays where nothing should be compiled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax.tracing.describe import Layouts, Linear, Path, Place, Scaling, Sign, Span, Term

__all__ = ["flip", "leaf_paths", "mix", "permute", "positions", "rescale", "spread_on"]

Leaves = dict[Path, Any]
Permutable = Mapping[str, tuple[tuple[str, int], ...]]


def leaf_paths(variables: Any) -> tuple[Leaves, Any]:
    """Leaves by their path of plain keys, and the structure."""
    flat, structure = jax.tree_util.tree_flatten_with_path(variables)
    names = ("key", "idx", "name")
    plain = (
        tuple(next(getattr(entry, name) for name in names if hasattr(entry, name)) for entry in path)
        for path, _ in flat
    )
    return dict(zip(plain, (leaf for _, leaf in flat), strict=True)), structure


def positions(span: Span) -> np.ndarray:
    """Entries of an axis that a span holds, in the shape of its digits."""
    total = np.full((1,) * len(span.digits), span.offset)
    for place, digit in enumerate(span.digits):
        total = total + np.arange(digit.size).reshape(_along(place, len(span.digits))) * digit.stride
    return total


def permute(perms: Mapping[str, Any], leaves: Leaves, layouts: Layouts, permutable: Permutable) -> Leaves:
    """Reorder the units of classes: unit ``i`` becomes the former ``perm[i]``, everywhere.

    A permutation that depends on other classes has their axes first; it acts before theirs.
    """
    result = dict(leaves)
    plain = {name: perm for name, perm in perms.items() if np.ndim(perm) == 1}
    for name in perms.keys() - plain.keys():
        order = [*(other for other, _ in permutable[name]), name]
        for layout in layouts:
            for place in layout.places():
                digits = [digit.name for span in place.spans for digit in span.digits]
                if name in digits:
                    _on_block(result, place, _take(perms[name], [digits.index(other) for other in order]))
    for layout in layouts:
        whole = result[layout.path]
        part = whole if layout.lead is None else whole[layout.lead]
        for axis, spans in enumerate(layout.columns):
            moved = [span for span in spans if any(digit.name in plain for digit in span.digits)]
            if moved:
                part = _space(part).take(part, _reordered(moved, plain, part.shape[axis]), axis=axis)
                result[layout.path] = part if layout.lead is None else _put(result[layout.path], layout.lead, part)
    return result


def _reordered(spans: Sequence[Span], perms: Mapping[str, Any], length: int) -> Any:
    space = next(_space(perms[d.name]) for span in spans for d in span.digits if d.name in perms)
    index = space.arange(length)
    for span in spans:
        total = space.full((1,) * len(span.digits), span.offset)
        for place, digit in enumerate(span.digits):
            unit = perms.get(digit.name, np.arange(digit.size))
            total = total + unit.reshape(_along(place, len(span.digits))) * digit.stride
        index = _put(index, positions(span).ravel(), total.ravel())
    return index


def _take(perm: Any, axes: list[int]) -> Callable[[Any], Any]:
    def apply(block: Any) -> Any:
        index = _spread(perm, axes, block.ndim)
        shape = list(block.shape)
        shape[axes[-1]] = index.shape[axes[-1]]
        space = _space(block)
        return space.take_along_axis(block, space.broadcast_to(index, shape), axis=axes[-1])

    return apply


def rescale(coordinates: Sequence[Any], leaves: Leaves, scalings: Sequence[Scaling]) -> Leaves:
    """Multiply each place by ``exp(degree * s)``."""
    result = dict(leaves)
    for s, scaling in zip(coordinates, scalings, strict=True):
        if scaling.centred:
            for axis in range(len(scaling.shape)):
                s = s - s.mean(axis, keepdims=True)
        for term in scaling.terms:
            _on_block(result, term.place, _multiply(_space(s).exp(float(term.degree) * s), term))
    return result


def spread_on(array: Any, values: Any, term: Term) -> Any:
    """Add values, which run along a term's digits, to a block of an array."""
    leaves = {term.place.path: array}
    _on_block(leaves, term.place, lambda block: block + _spread(values, _axes(term), block.ndim).astype(block.dtype))
    return leaves[term.place.path]


def flip(signs: Sequence[Any], leaves: Leaves, families: Sequence[Sign]) -> Leaves:
    """Multiply each place by its signs."""
    result = dict(leaves)
    for sign, family in zip(signs, families, strict=True):
        for term in family.terms:
            _on_block(result, term.place, _multiply(sign, term))
    return result


def mix(matrices: Sequence[Any], leaves: Leaves, groups: Sequence[Linear]) -> Leaves:
    """Act with a matrix, or with its inverse transpose, along the digit of the class; behind a gain, in its frame.

    Matrices that fix the vector of ones are given without it, one row and column smaller.
    """
    result = dict(leaves)
    for given, linear in zip(matrices, groups, strict=True):
        matrix = _beside_ones(given) if linear.fixed else given
        inverse = _space(matrix).linalg.inv(matrix).swapaxes(-1, -2) if linear.group == "general_linear" else matrix
        for term in linear.terms:
            act = _matmul(matrix if term.degree == 1 else inverse, term)
            _on_block(result, term.place, act if term.weight is None else _within(leaves, act, term))
    return result


def _space(array: Any) -> Any:
    return np if isinstance(array, np.ndarray | np.generic) else jnp


def _put(array: Any, index: Any, values: Any) -> Any:
    """An array with some entries replaced."""
    if _space(array) is jnp or _space(values) is jnp:
        return jnp.asarray(array).at[index].set(values)
    array = array.copy()
    array[index] = values
    return array


def _along(place: int, ndim: int) -> list[int]:
    return [-1 if axis == place else 1 for axis in range(ndim)]


def _on_block(leaves: Leaves, place: Place, function: Callable[[Any], Any]) -> None:
    """Replace a block of a leaf, seen as an array with one axis for each digit."""
    leaf = leaves[place.path]
    rows = [positions(span) for span in place.spans]
    digits = tuple(size for row in rows for size in row.shape)
    flat = [row.ravel() for row in rows]
    if all(len(row) == n and np.array_equal(row, np.arange(n)) for row, n in zip(flat, leaf.shape, strict=True)):
        leaves[place.path] = function(leaf.reshape(digits)).astype(leaf.dtype).reshape(leaf.shape)
        return
    index = np.ix_(*flat)
    block = leaf[index]
    leaves[place.path] = _put(leaf, index, function(block.reshape(digits)).astype(leaf.dtype).reshape(block.shape))


def _axes(term: Term) -> list[int]:
    """The digits' axes that a term's coordinates run along."""
    starts = np.cumsum([0, *(len(span.digits) for span in term.place.spans)])
    return [int(starts[axis]) + digit for axis, digit in term.along]


def _multiply(factor: Any, term: Term) -> Callable[[Any], Any]:
    return lambda block: block * _spread(factor, _axes(term), block.ndim).astype(block.dtype)


def _spread(array: Any, axes: list[int], ndim: int) -> Any:
    """Put the axes of an array at some places of an array of ``ndim``."""
    space = _space(array)
    array = space.transpose(array, np.argsort(axes)) if len(axes) else space.asarray(array)
    return space.expand_dims(array, tuple(axis for axis in range(ndim) if axis not in axes))


def _beside_ones(matrix: Any) -> Any:
    """The matrix that acts as the one given on the vectors of sum zero, and leaves the vector of ones as it is."""
    space, size = _space(matrix), matrix.shape[-1] + 1
    normal = -np.ones(size) / np.sqrt(size)
    normal[0] += 1.0  # of the mirror that takes ones to the first axis
    mirror = np.eye(size) - 2 * np.outer(normal, normal) / (normal @ normal)
    rows = space.asarray(mirror[:, 1:], matrix.dtype)
    return space.full((size, size), 1 / size, matrix.dtype) + rows @ matrix @ rows.T


def _within(leaves: Leaves, act: Callable[[Any], Any], term: Term) -> Callable[[Any], Any]:
    """Act on a block that is multiplied by a gain, or divided; what a gain of zero hides is left as it is."""
    path, _, plus, inverse = term.weight
    gain = leaves[path] + plus
    space = _space(gain)

    def apply(block: Any) -> Any:
        factor = _spread(gain, _axes(term)[-1:], block.ndim).astype(block.dtype)
        over = 1 / space.where(factor == 0, space.inf, factor)
        inside, outside = (over, factor) if inverse else (factor, over)
        return block + (act(inside * block) - inside * block) * outside

    return apply


def _matmul(matrix: Any, term: Term) -> Callable[[Any], Any]:
    *batch, unit = _axes(term)

    def apply(block: Any) -> Any:
        names = list(range(block.ndim))
        out = [*names]
        out[unit] = block.ndim
        exact = {} if _space(block) is np else {"precision": "highest"}
        indices = (names, matrix.astype(block.dtype), [*batch, block.ndim, unit], out)
        return _space(block).einsum(block, *indices, **exact)

    return apply
