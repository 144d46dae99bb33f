"""The transformed network: every spatial axis of the parameters moved by a group, so that f^g(g x) = g f(x)."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.equivariance.groups import SpatialGroup, namespace, require_element
from symjax.equivariance.operations import Constant, Digit, Lost, Segments, Window
from symjax.equivariance.walk import SpatialWalk
from symjax.tracing.action import leaf_paths
from symjax.tracing.describe import Path
from symjax.tracing.found import trace_program
from symjax.tracing.program import Program, evaluate

__all__ = [
    "SpatialLayout",
    "commutation_error",
    "find_spatial",
    "move_array",
    "transform",
    "transform_input",
    "transform_output",
]


class LeafLayout(NamedTuple):
    """How the axes of a leaf, or of one entry ``lead`` of a stack of layers, are made of rows and columns."""

    path: Path
    lead: int | None
    columns: tuple[Segments, ...]


class SpatialLayout(NamedTuple):
    """Which axes of a model's parameters, inputs and outputs are spatial.

    Attributes:
      leaves: the leaves with spatial axes; all others are left as they are.
      input: of the image.
      outputs: of each output.
      by_rule: leaves taken by the rule for what the program does not show: four axes are (height, width, in, out).
      windows: every operation along spatial axes.
      constants: known arrays that vary along spatial axes.
      lost: operations through which rows and columns could not be followed.
      program: the model's, for checks.
    """

    leaves: tuple[LeafLayout, ...]
    input: tuple[Segments, ...]
    outputs: tuple[tuple[Segments, ...], ...]
    by_rule: tuple[Path, ...]
    windows: tuple[Window, ...]
    constants: tuple[Constant, ...]
    lost: tuple[Lost, ...]
    program: Program

    def __repr__(self) -> str:
        rule = f", {len(self.by_rule)} by rule" if self.by_rule else ""
        return f"<SpatialLayout: {len(self.leaves)} leaves{rule}, {len(self.windows)} operations>"


def find_spatial(
    apply: Callable[[Any, Any], Any], variables: Any, x: Any, axes: Mapping[str, int] | None = None
) -> SpatialLayout:
    """Find which axes of a model's leaves run along rows and columns of its images.

    The axes are read off the model's program: a convolution hands the kind of the axis it slides along to its kernel
    and to its result; a dense layer behind a flattened map has the rows and columns of the map in its kernel; a
    positional embedding has those of the map it is added to. Where the program cannot be followed
    (:attr:`SpatialLayout.lost`), a leaf of four axes without any spatial one is taken for a kernel (height, width, in,
    out), :attr:`SpatialLayout.by_rule`. :func:`commutation_error` says whether the result is right.

    Source: this library's own, on the axes of :mod:`symjax.tracing`.

    Args:
      apply: pure function of the variables and one array of images, in evaluation mode.
      variables: pytree of arrays or `jax.ShapeDtypeStruct`.
      x: array or `jax.ShapeDtypeStruct`, images (n, height, width, channels).
      axes: "height" and "width" -> the image's axis, None is ``{"height": 1, "width": 2}``; a signal (n, length,
        channels) has ``{"width": 1}``.

    Returns:
      The layout.

    Raises:
      ValueError: a function that does not run on these shapes, more than one input array, an axis it does not have.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> convolve = lambda v, x: jax.lax.conv_general_dilated(
      ...     x, v["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
      >>> find_spatial(convolve, {"k": jnp.ones((3, 3, 1, 2))}, jnp.ones((1, 5, 5, 1)))
      <SpatialLayout: 1 leaves, 1 operations>
    """
    axes = {"height": 1, "width": 2} if axes is None else dict(axes)
    program, paths = trace_program(apply, variables, x)
    if len(program.inputs) != 1:
        raise ValueError(f"x has {len(program.inputs)} arrays, but must be one array of images")
    rank = len(program.inputs[0].shape)
    known = {*axes} <= {"height", "width"} and all(axis in range(rank) for axis in axes.values())
    if not axes or not known or len({*axes.values()}) < len(axes):
        raise ValueError(f"axes is {axes}, but must give 'height' and 'width' an axis of x each, which has {rank}")
    walk = SpatialWalk(program, axes)
    leaves, by_rule = _leaves(walk, paths)
    outputs = tuple(walk.columns(out) if out in walk.terms.axes else () for out in program.outputs)
    return SpatialLayout(
        leaves,
        walk.columns(program.inputs[0]) or (),
        tuple(columns or () for columns in outputs),
        by_rule,
        tuple(walk.windows),
        tuple(walk.constants),
        tuple(walk.lost),
        program,
    )


def _leaves(walk: SpatialWalk, paths: tuple[Path, ...]) -> tuple[tuple[LeafLayout, ...], tuple[Path, ...]]:
    leaves, by_rule = [], []
    read = {value for equation in walk.program.equations for value in equation.inputs} | {*walk.program.outputs}
    for value, (number, lead) in zip(walk.program.leaves, walk.program.origins, strict=True):
        if value not in read:
            continue
        columns = walk.columns(value)
        if columns is None:
            walk.lost.append(Lost("the layout of " + "/".join(map(str, paths[number])), ""))
        elif any(digit.kind for segments in columns for segment in segments for digit in segment):
            leaves.append(LeafLayout(paths[number], lead, columns))
        elif walk.lost and len(value.shape) == 4:
            kinds = ("height", "width", "", "")
            columns = tuple(((Digit(kind, size),),) for kind, size in zip(kinds, value.shape, strict=True))
            leaves.append(LeafLayout(paths[number], lead, columns))
            by_rule.append(paths[number])
    return tuple(leaves), tuple(by_rule)


def transform(variables: Any, layout: SpatialLayout, group: SpatialGroup, g: int) -> Any:
    """Move every spatial axis of the parameters: the network f^g with ``f^g(g x) = g f(x)``.

    Kernels of convolutions are moved as images are; a dense layer behind a flattened map is moved along the map's rows
    and columns. Biases, normalisations and 1x1 kernels stay. Nothing is learned of other channels: pair the result with
    a permutation to compare it with ``variables``.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, section 2 (the flipped network).

    Args:
      variables: pytree of arrays like those of :func:`find_spatial`.
      layout: from :func:`find_spatial`.
      group: how arrays are moved.
      g: number of the element.

    Returns:
      The same pytree, moved; NumPy's arrays stay NumPy's.

    Raises:
      ValueError: an element the group does not have; variables that the layout is not of; a leaf whose rows and columns
        the element cannot move (rows without columns under a turn, unequal ones), named by its path.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.equivariance import flip_group
      >>> convolve = lambda v, x: jax.lax.conv_general_dilated(
      ...     x, v["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
      >>> variables = {"k": jnp.arange(3.0).reshape(1, 3, 1, 1)}
      >>> layout = find_spatial(convolve, variables, jnp.ones((1, 5, 5, 1)))
      >>> print(transform(variables, layout, flip_group(), 1)["k"].ravel())
      [2. 1. 0.]
    """
    g = require_element(group, g)
    leaves, structure = leaf_paths(variables)
    for leaf in layout.leaves:
        if leaf.path not in leaves:
            raise ValueError(
                f"variables have no leaf {'/'.join(map(str, leaf.path))}, but the layout was found with it"
            )
        whole = leaves[leaf.path]
        whole = whole if isinstance(whole, np.ndarray) else jnp.asarray(whole)
        part = whole if leaf.lead is None else whole[leaf.lead]
        moved = move_array(part, leaf.columns, group, g, "/".join(map(str, leaf.path)))
        leaves[leaf.path] = moved if leaf.lead is None else _put(whole, leaf.lead, moved)
    return jax.tree.unflatten(structure, list(leaves.values()))


def transform_input(x: Any, layout: SpatialLayout, group: SpatialGroup, g: int) -> jax.Array:
    """Move images: ``g x``.

    Source: Bökman & Kahl 2023, arXiv 2305.17017, section 2.

    Args:
      x: array of images, laid out as those of :func:`find_spatial`; any number of them.
      layout: from :func:`find_spatial`.
      group: how arrays are moved.
      g: number of the element.

    Returns:
      An array of the same shape.

    Raises:
      ValueError: an element the group does not have, images of another size, or not square under a turn.
    """
    x = x if isinstance(x, np.ndarray) else jnp.asarray(x)
    return move_array(x, layout.input, group, require_element(group, g), "x")


def transform_output(outputs: Any, layout: SpatialLayout, group: SpatialGroup, g: int) -> Any:
    """Move the outputs: along their spatial axes if they have any (a segmentation), else not at all (a class).

    Source: Bökman & Kahl 2023, arXiv 2305.17017, section 2.

    Args:
      outputs: what the model returns.
      layout: from :func:`find_spatial`.
      group: how arrays are moved.
      g: number of the element.

    Returns:
      The same pytree.
    """
    leaves, structure = jax.tree.flatten(outputs)
    g = require_element(group, g)
    moved = [
        move_array(jnp.asarray(leaf), columns, group, g, "the outputs") if columns else leaf
        for leaf, columns in zip(leaves, layout.outputs, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def move_array(array: Any, columns: tuple[Segments, ...], group: SpatialGroup, g: int, name: str) -> Any:
    """Move an array along the rows and columns that its axes are made of."""
    if g == 0:
        return array
    sizes = [[int(np.prod([d.size for d in segment])) for segment in segments] for segments in columns]
    # the batch may have another size than the one traced; every spatial axis may not
    free = [not any(d.kind for segment in segments for d in segment) for segments in columns]
    fits = [whole or sum(part) == n for whole, part, n in zip(free, sizes, array.shape, strict=False)]
    if array.ndim != len(columns) or not all(fits):
        raise ValueError(f"{name} has shape {array.shape}, but the layout was found for {[sum(s) for s in sizes]}")
    starts = [np.cumsum([0, *part]) for part in sizes]
    blocks = [
        [(slice(None), (Digit("", array.shape[axis]),))]
        if free[axis]
        else [(slice(start, start + n), s) for start, n, s in zip(starts[axis], sizes[axis], segments, strict=False)]
        for axis, segments in enumerate(columns)
    ]
    result = array
    for block in product(*blocks):
        digits = [digit for _, segment in block for digit in segment]
        if any(digit.kind for digit in digits):
            index = tuple(cut for cut, _ in block)
            moved = _move_digits(array[index], digits, group, g, name)
            result = moved if moved.shape == array.shape else _put(result, index, moved)
    return result


def _put(array: Any, index: Any, values: Any) -> Any:
    """An array with some entries replaced."""
    if namespace(array) is jnp:
        return array.at[index].set(values)
    array = array.copy()
    array[index] = values
    return array


def _move_digits(block: Any, digits: list[Digit], group: SpatialGroup, g: int, name: str) -> Any:
    """Move the k-th rows together with the k-th columns."""
    shape, space = block.shape, namespace(block)
    block = block.reshape([digit.size for digit in digits])
    rows, columns = ([k for k, digit in enumerate(digits) if digit.kind == kind] for kind in ("height", "width"))
    if rows and columns and len(rows) != len(columns):
        raise ValueError(f"{name} has {len(rows)} axes of rows and {len(columns)} of columns, which is not followed")
    for place in range(max(len(rows), len(columns))):
        # an axis that is missing is there with length one
        expanded = block[None]
        pair = [1 + part[place] if part else 0 for part in (rows, columns)]
        moved = group.act(g, space.moveaxis(expanded, pair, (-2, -1)))
        back = space.moveaxis(moved, (-2, -1), pair)
        if back.shape != expanded.shape:
            sizes = [expanded.shape[axis] for axis in pair]
            raise ValueError(f"{name} has {sizes[0]} rows and {sizes[1]} columns, which {group.name} cannot exchange")
        block = back[0]
    return block.reshape(shape)


def commutation_error(
    variables: Any, x: Any, layout: SpatialLayout, group: SpatialGroup, dtype: Any = None
) -> dict[int, float]:
    """How far ``f^g(g x)`` is from ``g f(x)``, for each generator, relative to the largest output.

    Rounding, 1e-12 in float64, where every operation commutes with the group and the layout is right; clearly more for
    a network whose strides and paddings see other pixels in the mirror (:func:`symjax.equivariance.broken`).

    Source: Bökman & Kahl 2023, arXiv 2305.17017, section 2.

    Args:
      variables: pytree of arrays.
      x: array of images, of the shape of :func:`find_spatial`.
      layout: from :func:`find_spatial`.
      group: how arrays are moved.
      dtype: of the arithmetic in place of the program's; None keeps it.

    Returns:
      Generator -> error.

    Raises:
      ValueError: variables or images of other shapes than those of the layout.
    """
    program = layout.program
    shapes = tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(variables))
    if shapes != program.shapes:
        raise ValueError(f"variables have shapes {shapes}, but the layout was found with {program.shapes}")
    if jnp.shape(x) != program.inputs[0].shape:
        raise ValueError(f"x has shape {jnp.shape(x)}, but the layout was found with {program.inputs[0].shape}")
    x = jnp.asarray(x, program.inputs[0].dtype)

    @jax.jit
    def run(variables: Any, x: Any) -> list:
        return evaluate(program, jax.tree.leaves(variables), [x], program.outputs, dtype=dtype)

    before, errors = run(variables, x), {}
    scale = max(float(jnp.max(jnp.abs(out))) for out in before)
    for g in group.generators:
        after = run(transform(variables, layout, group, g), transform_input(x, layout, group, g))
        wanted = transform_output(before, layout, group, g)
        errors[g] = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(after, wanted, strict=True)) / (scale or 1.0)
    return errors
