"""Rules of primitives that move entries: reshape, slices, concatenations, broadcasts."""

from collections.abc import Callable, Sequence

import numpy as np

from symjax.tracing import rules_shifts as shifts
from symjax.tracing.axes import Axis, Cause, concatenate, freeze, product, split, unify
from symjax.tracing.ladder import moves
from symjax.tracing.program import Equation
from symjax.tracing.units import (
    ANY,
    CONSTANT,
    ONE,
    Layout,
    Part,
    Units,
    assemble,
    combine,
    equate,
    flat,
    regroup,
    select,
)
from symjax.tracing.walk import AxesWalk, Rule, UnitsWalk

__all__ = ["SHAPE"]

Axes = tuple[Axis, ...]


def reshape_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Groups of axes with one product are one axis, cut in two ways."""
    cause = Cause(f"conflict: {equation.name}", equation)
    return [regrouped(inputs[0], equation.outputs[0].shape, cause)]


def regrouped(axes: Axes, shape: Sequence[int], cause: Cause) -> Axes:
    """Axes of an array of ``shape`` that holds the same entries in row-major order."""
    if not all(shape):
        return tuple(map(Axis, shape))
    olds, result, sizes = [axis for axis in reversed(axes) if axis.size != 1], [], [n for n in shape if n != 1]
    position = 0
    while olds:
        group, count = [olds.pop()], 1
        total, target = group[0].size, sizes[position]
        while total != target:
            if total < target:
                group.append(olds.pop())
                total *= group[-1].size
            else:
                target *= sizes[position + count]
                count += 1
        news = [Axis(size) for size in sizes[position : position + count]]
        if count == 1:
            news = [product(group)]
        else:
            unify(product(group), product(news), cause)
        result += news
        position += count
    found = iter(result)
    return tuple(Axis(1) if size == 1 else next(found) for size in shape)


def reshape_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Blocks are matched entry by entry; where axes are cut in two ways that do not fit, units are uniform there."""
    (value,), (out,), (units,) = equation.inputs, equation.outputs, inputs
    if units in (ANY, CONSTANT):
        return [units]
    before, after = walk.layout(value), walk.layout(out)
    wrong_in, wrong_out = _misfits(before, value.shape, after, out.shape)
    if not wrong_out:
        return [regroup(walk.system, units, before, value.shape, after, out.shape)]
    level = walk.flatten(units, before, wrong_in)
    left = tuple(ONE if axis in wrong_in else column for axis, column in enumerate(before))
    right = tuple(ONE if axis in wrong_out else column for axis, column in enumerate(after))
    moved = regroup(walk.system, level, left, value.shape, right, out.shape)
    names = tuple(None if axis in wrong_out else axis for axis in range(len(after)))
    return [combine(walk.system, [Part(moved, names)], dict(enumerate(after)), tuple(range(len(after))))]


def _misfits(before: Layout, shape: Sequence[int], after: Layout, new: Sequence[int]) -> tuple[list[int], list[int]]:
    """Axes in the groups of a reshape whose blocks are not the same sets of entries."""
    wrong_in: list[int] = []
    wrong_out: list[int] = []
    i = j = 0
    while i < len(shape) and j < len(new):
        left, right, a, b = [i], [j], shape[i], new[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                left.append(i)
                a, i = a * shape[i], i + 1
            else:
                right.append(j)
                b, j = b * new[j], j + 1
        columns, others = [before[k] for k in left], [after[k] for k in right]
        if flat(columns, [shape[k] for k in left]).keys() != flat(others, [new[k] for k in right]).keys():
            wrong_in += left
            wrong_out += right
    return wrong_in, wrong_out


def _renamed(names: Callable[[Equation], tuple[list, list]]) -> Rule:
    """A primitive that only renames axes: ``names`` gives those of the operand and of the result."""

    def axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
        before, after = names(equation)
        known = dict(zip(before, inputs[0], strict=True))
        sizes = equation.outputs[0].shape
        return [
            tuple(
                known[name] if name in known and known[name].size == n else Axis(n)
                for name, n in zip(after, sizes, strict=True)
            )
        ]

    def units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
        before, after = names(equation)
        layouts = dict(zip(after, walk.layout(equation.outputs[0]), strict=True))
        part = walk.part(inputs[0], equation.inputs[0], [name if name in layouts else None for name in before], layouts)
        return [combine(walk.system, [part], layouts, after)]

    return Rule(axes, units, moves, shifts.moves)


def _transpose(equation: Equation) -> tuple[list, list]:
    return list(range(len(equation.inputs[0].shape))), list(equation.params["permutation"])


def _broadcast(equation: Equation) -> tuple[list, list]:
    return list(equation.params["broadcast_dimensions"]), list(range(len(equation.outputs[0].shape)))


def _squeeze(equation: Equation) -> tuple[list, list]:
    rank = len(equation.inputs[0].shape)
    dropped = {axis % rank for axis in equation.params["dimensions"]}
    return list(range(rank)), [axis for axis in range(rank) if axis not in dropped]


def concatenate_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """The segments stand side by side."""
    dimension, cause = equation.params["dimension"], Cause("conflict: concatenate", equation)
    first, *others = inputs
    for other in others:
        for place, (a, b) in enumerate(zip(first, other, strict=True)):
            if place != dimension:
                unify(a, b, cause)
    whole = concatenate([operand[dimension] for operand in inputs])
    return [(*first[:dimension], whole, *first[dimension + 1 :])]


def concatenate_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Each segment keeps its own."""
    axis, start, pieces = equation.params["dimension"], 0, []
    for units, value in zip(inputs, equation.inputs, strict=True):
        pieces.append((units, None if value.constant is not None else walk.layout(value), start, value.shape[axis]))
        start += value.shape[axis]
    return [assemble(walk.system, pieces, axis, walk.layout(equation.outputs[0]))]


def cut(axis: Axis, start: int, stop: int, cause: Cause) -> Axis:
    """Entries ``start ... stop - 1`` of an axis."""
    _, tail = split(axis, start, cause)
    return split(tail, stop - start, cause)[0]


def window_axes(axes: Axes, starts: Sequence[int], stops: Sequence[int], strides: Sequence[int], cause: Cause) -> Axes:
    """Axes of a static slice; a stride freezes."""
    result = []
    for axis, start, stop, stride in zip(axes, starts, stops, strides, strict=True):
        if stride != 1:
            freeze(axis, Cause("strided slice", cause.equation))
            result.append(_frozen(len(range(start, stop, stride)), Cause("strided slice", cause.equation)))
        else:
            result.append(cut(axis, start, stop, cause))
    return tuple(result)


def window_units(
    walk: UnitsWalk, equation: Equation, units: Units, starts: Sequence[int], strides: Sequence[int]
) -> Units:
    """Units of a static slice, one axis after the other."""
    value, out = equation.inputs[0], equation.outputs[0]
    if units in (ANY, CONSTANT):
        return units
    layout, after = walk.layout(value), walk.layout(out)
    for axis, (start, stride) in enumerate(zip(starts, strides, strict=True)):
        if value.shape[axis] == out.shape[axis]:
            continue
        new = (*layout[:axis], after[axis], *layout[axis + 1 :])
        if stride != 1:
            flat = walk.flatten(units, layout, [axis])
            units = combine(
                walk.system,
                [Part(flat, tuple(None if place == axis else place for place in range(len(new))))],
                dict(enumerate(new)),
                tuple(range(len(new))),
            )
        else:
            units = select(walk.system, units, layout, axis, start, new)
        layout = new
    return units


def slice_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """A static slice cuts its axes."""
    params = equation.params
    strides = params["strides"] or (1,) * len(inputs[0])
    cause = Cause("slice through units", equation)
    return [window_axes(inputs[0], params["start_indices"], params["limit_indices"], strides, cause)]


def slice_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Blocks outside are forgotten."""
    starts = equation.params["start_indices"]
    return [window_units(walk, equation, inputs[0], starts, equation.params["strides"] or (1,) * len(starts))]


def split_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Consecutive slices."""
    place, rest, cause = (
        equation.params["axis"],
        inputs[0][equation.params["axis"]],
        Cause("split through units", equation),
    )
    result = []
    for size in equation.params["sizes"]:
        head, rest = split(rest, int(size), cause)
        result.append((*inputs[0][:place], head, *inputs[0][place + 1 :]))
    return result


def split_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Each slice has the units of its blocks."""
    axis, start, result = equation.params["axis"], 0, []
    for out in equation.outputs:
        units = inputs[0]
        if units not in (ANY, CONSTANT):
            layout = walk.layout(equation.inputs[0])
            units = select(walk.system, units, layout, axis, start, walk.layout(out))
        result.append(units)
        start += out.shape[axis]
    return result


def pad_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Padding stands beside the units; between them, or negative, it freezes."""
    result, cause = [], Cause("pad", equation)
    for axis, size, (low, high, interior) in zip(
        inputs[0], equation.outputs[0].shape, equation.params["padding_config"], strict=True
    ):
        if interior or low < 0 or high < 0:
            freeze(axis, cause)
            result.append(_frozen(size, cause))
        else:
            result.append(concatenate([_frozen(low, cause), axis, _frozen(high, cause)]))
    return [tuple(result)]


def pad_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Padding with zeros has any units."""
    (value, fill), (out,) = equation.inputs, equation.outputs
    if fill.constant is None:
        equate(walk.system, inputs[1], CONSTANT, ())
    filling = inputs[1] if fill.constant is not None else CONSTANT
    units, layout, after, shape = inputs[0], walk.layout(value), walk.layout(out), list(value.shape)
    for axis, (low, high, interior) in enumerate(equation.params["padding_config"]):
        if low == high == interior == 0:
            continue
        new = (*layout[:axis], after[axis], *layout[axis + 1 :])
        if interior or low < 0 or high < 0:
            units = equate(walk.system, walk.flatten(units, layout, [axis]), filling, layout)
            names = tuple(None if place == axis else place for place in range(len(new)))
            units = combine(walk.system, [Part(units, names)], dict(enumerate(new)), tuple(range(len(new))))
        else:
            size = shape[axis]
            pieces = [(filling, None, 0, low), (units, layout, low, size), (filling, None, low + size, high)]
            units = assemble(walk.system, pieces, axis, new)
        layout = new
    return [units]


def known_starts(equation: Equation, first: int) -> list[int | None]:
    """Start indices of a dynamic slice, where they are known, clamped as jax does."""
    return [None if value.constant is None else int(value.constant) for value in equation.inputs[first:]]


def dynamic_slice_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Known starts slice; unknown ones freeze the axes they cut."""
    result, cause = [], Cause("dynamic_slice", equation)
    for axis, size, start in zip(inputs[0], equation.outputs[0].shape, known_starts(equation, 1), strict=True):
        if size == axis.size:
            result.append(axis)
        elif start is None:
            freeze(axis, cause)
            result.append(_frozen(size, cause))
        else:
            start = int(np.clip(start, 0, axis.size - size))
            result.append(cut(axis, start, start + size, cause))
    return [tuple(result)]


def dynamic_slice_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """An unknown start takes uniform units."""
    value, out = equation.inputs[0], equation.outputs[0]
    found = known_starts(equation, 1)
    strides = [2 if start is None and a != b else 1 for start, a, b in zip(found, value.shape, out.shape, strict=True)]
    starts = [int(np.clip(start or 0, 0, a - b)) for start, a, b in zip(found, value.shape, out.shape, strict=True)]
    return [window_units(walk, equation, inputs[0], starts, strides)]


def update_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """A known start, one axis: the update stands between what remains; freezes otherwise."""
    whole, update, cause = inputs[0], inputs[1], Cause("dynamic_update_slice", equation)
    short = [place for place, (a, b) in enumerate(zip(whole, update, strict=True)) if a.size != b.size]
    starts = known_starts(equation, 2)
    for a, b in zip(whole, update, strict=True):
        if a.size == b.size:
            unify(a, b, cause)
    if len(short) == 1 and starts[short[0]] is not None:
        place = short[0]
        size, total = update[place].size, whole[place].size
        start = int(np.clip(starts[place], 0, total - size))
        left, _ = split(whole[place], start, cause)
        _, right = split(whole[place], start + size, cause)
        return [(*whole[:place], concatenate([left, update[place], right]), *whole[place + 1 :])]
    for place in short:
        freeze(whole[place], cause)
        freeze(update[place], cause)
    return [whole]


def update_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """All have the same uniform units: what is updated is not followed entry by entry."""
    after = walk.layout(equation.outputs[0])
    total: Units = ANY
    for units, value in zip(inputs[:2], equation.inputs[:2], strict=True):
        if units not in (ANY, CONSTANT):
            short = [k for k, (n, m) in enumerate(zip(value.shape, equation.outputs[0].shape, strict=True)) if n != m]
            flat = walk.flatten(units, walk.layout(value), short) if short else units
            names = [None if k in short else k for k in range(len(after))]
            part = walk.part(flat, value, names, dict(enumerate(after)))
            units = combine(walk.system, [part], dict(enumerate(after)), tuple(range(len(after))))
        total = equate(walk.system, total, units, after)
    return [total]


def _frozen(size: int, cause: Cause) -> Axis:
    axis = Axis(size)
    freeze(axis, cause)
    return axis


SHAPE = {
    "reshape": Rule(reshape_axes, reshape_units, moves, shifts.moves),
    "transpose": _renamed(_transpose),
    "broadcast_in_dim": _renamed(_broadcast),
    "squeeze": _renamed(_squeeze),
    "concatenate": Rule(concatenate_axes, concatenate_units, moves, shifts.moves),
    "slice": Rule(slice_axes, slice_units, moves, shifts.moves),
    "split": Rule(split_axes, split_units, moves, shifts.moves),
    "pad": Rule(pad_axes, pad_units, moves, shifts.moves),
    "dynamic_slice": Rule(dynamic_slice_axes, dynamic_slice_units, moves, shifts.moves),
    "dynamic_update_slice": Rule(update_axes, update_units, moves, shifts.moves),
}
