"""Readers of a centred tensor: what ``x - mean(x)`` makes free behind a normalisation.

With ``y = z g + b``, the entries of z summing to nothing along an axis, ``u / g`` may be added along that axis to a
kernel that reads y: the result moves by ``u sum(b / g)`` only, independent of the input, which a bias absorbs.
"""

import itertools
from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import prod
from typing import NamedTuple

from symjax.tracing.axes import monomials
from symjax.tracing.program import Equation, Value
from symjax.tracing.shifts import IDENTITY, WEIGHTED, Flow, ShiftsWalk, Tokens, number_of
from symjax.tracing.units import Part, Units, combine, position
from symjax.tracing.walk import Unknown

__all__ = ["Centred", "free_readers", "leaf_behind", "note_move", "note_product", "note_sum"]


class Centred(NamedTuple):
    """A value ``z g + b``: the axis along which z sums to nothing, the vector g (None: one), the multiples in b."""

    axis: int
    gain: Value | None = None
    offset: tuple[tuple[Value, Fraction], ...] = ()

    def by(self, number: Fraction | int) -> "Centred":
        """A multiple."""
        return self._replace(offset=tuple((value, number * factor) for value, factor in self.offset))


def note_move(walk: ShiftsWalk, equation: Equation) -> None:
    """A centred value stays so while its axis is kept whole: moved among other axes, cut, joined and summed along them.

    So it is behind a pooling after a norm, and before attention in rolled windows.
    """
    value, out = equation.inputs[0], equation.outputs[0]
    held = walk.centred[value]
    if equation.name == "concatenate" and any(walk.centred.get(other) != held for other in equation.inputs):
        return
    axis = _moved(equation, held.axis) if equation.name in _MOVES else None
    if axis is not None and out.shape[axis] == value.shape[held.axis]:
        counted = prod(value.shape) // prod(out.shape) if equation.name == "reduce_sum" else 1
        walk.centred[out] = held._replace(axis=axis).by(counted)


def _moved(equation: Equation, axis: int) -> int | None:
    """Where an axis is afterwards; None where it is not kept."""
    params, shape, after = equation.params, equation.inputs[0].shape, equation.outputs[0].shape
    if equation.name == "transpose":
        return list(params["permutation"]).index(axis)
    if equation.name == "broadcast_in_dim":
        return params["broadcast_dimensions"][axis]
    if equation.name == "reduce_sum":
        return None if axis in params["axes"] else axis - sum(gone < axis for gone in params["axes"])
    if equation.name == "concatenate":
        return None if axis == params["dimension"] else axis
    if equation.name in ("slice", "dynamic_slice"):
        return axis
    if equation.name == "gather":
        numbers = params["dimension_numbers"]
        gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
        return None if axis in gone else numbers.offset_dims[axis - sum(other < axis for other in gone)]
    before = prod(shape[:axis])  # reshape, squeeze, expand_dims: as many entries on either side
    return next((k for k, n in enumerate(after) if n == shape[axis] > 1 and prod(after[:k]) == before), None)


_MOVES = ("transpose", "broadcast_in_dim", "reduce_sum", "concatenate", "slice", "dynamic_slice", "gather")
_MOVES += ("reshape", "squeeze", "expand_dims")


def note_sum(walk: ShiftsWalk, equation: Equation) -> None:
    """``x - mean(x)`` is centred; a vector added to a centred value is its offset."""
    left, right = equation.inputs
    out = equation.outputs[0]
    if equation.name == "sub" and left.constant is None and right.constant is None and left.shape == out.shape:
        (whole, scale), (key, factor) = walk.key(left), walk.key(right)
        if isinstance(key, tuple) and key[:3] == ("sum", whole, left.shape) and len(key[3]) == 1:
            (axis,) = key[3]
            means = tuple(1 if k == axis else n for k, n in enumerate(left.shape))
            if right.shape == means and factor * left.shape[axis] == scale != Fraction(0):
                walk.centred[out] = Centred(axis)
    elif equation.name == "add":
        for value, other in ((left, right), (right, left)):
            held = walk.centred.get(value)
            if held is not None and other not in walk.data and _is_vector(other, held.axis):
                walk.centred[out] = held._replace(offset=(*held.offset, (other, Fraction(1))))


def note_product(walk: ShiftsWalk, equation: Equation) -> None:
    """A centred value stays so if multiplied by what is constant along its axis, and by one vector."""
    out = equation.outputs[0]
    for value, other in (equation.inputs, equation.inputs[::-1])[: 1 if equation.name == "div" else 2]:
        held = walk.centred.get(value)
        if held is None or value.shape != out.shape:
            continue
        if number := number_of(other):
            walk.centred[out] = held.by(1 / number if equation.name == "div" else number)
        elif not held.offset and _is_constant(walk, other, held.axis):
            walk.centred[out] = held
        elif not held.offset and held.gain is None and equation.name == "mul":
            gain = _vector(walk, other, held.axis)
            if gain is not None:
                walk.centred[out] = held._replace(gain=gain)


def _vector(walk: ShiftsWalk, value: Value, axis: int) -> Value | None:
    """A factor of a value that is a vector along an axis, if the other factor is constant along it."""
    if value not in walk.data and _is_vector(value, axis):
        return value
    maker = walk.makers.get(value)
    if maker is not None and maker.name == "mul":
        for one, other in (maker.inputs, maker.inputs[::-1]):
            if one not in walk.data and _is_vector(one, axis) and _is_constant(walk, other, axis):
                return one
    return None


def _is_vector(value: Value, axis: int) -> bool:
    return len(value.shape) > axis and all(n == 1 for k, n in enumerate(value.shape) if k != axis)


def _is_constant(walk: ShiftsWalk, value: Value, axis: int) -> bool:
    return not value.shape or (len(value.shape) > axis and value.shape[axis] == 1)


def free_readers(
    walk: ShiftsWalk,
    equation: Equation,
    place: int,
    sides: Sequence[Sequence[Hashable]],
    summed: Sequence[Hashable],
    out_names: Sequence[Hashable],
    out: Tokens,
) -> None:
    """New unknowns for a kernel, read here alone, that contracts the axis along which the other operand is centred."""
    kernel, other = equation.inputs[place], equation.inputs[1 - place]
    held = walk.centred.get(other)
    if held is None or (leaf := leaf_behind(walk, kernel, WEIGHTED)) is None:
        return
    if [axis for axis, name in enumerate(sides[1 - place]) if name in summed] != [held.axis]:
        return
    names, layout = list(sides[place]), walk.layout(kernel)
    axis = next(k for k, name in enumerate(names) if name in summed)
    if len(layout[axis]) != 1:
        return
    layouts = {name: monomials(a) for name, a in walk.axes.notes[id(equation)].items()}
    kept = [k for k in range(len(names)) if k != axis]
    if any(layout[k] != layouts[names[k]] for k in kept):
        return
    for block in itertools.product(*(range(len(column)) for column in layout)):
        atoms = [
            (position(k, digit), atom) for k in kept for digit, (atom, _) in enumerate(layout[k][block[k]].factors)
        ]
        for size in range(len(atoms) + 1):
            for chosen in itertools.combinations(atoms, size):
                form = walk.system.unknown()
                walk.unknowns.append(Unknown(leaf, block, chosen, (held.gain, axis, WEIGHTED)))
                if held.offset:
                    codes = frozenset(position(kept.index(code // 16), code % 16) for code, _ in chosen)
                    part = Part(Units({tuple(block[k] for k in kept): {codes: form}}), tuple(names[k] for k in kept))
                    moved = combine(walk.system, [part], layouts, out_names)
                    new = walk.operator("centred", IDENTITY, (id(equation), place), (block, codes), False)
                    flow = Flow(equation, place, WEIGHTED, how="offset")
                    walk.emit(out, equation.outputs[0], new, moved, flow)


def leaf_behind(walk: ShiftsWalk, kernel: Value, kind: int) -> Value | None:
    """The leaf that a kernel is, perhaps in another type, if nothing else reads it; tangents of a kind pass along."""
    steps = []
    while len(walk.readers(kernel)) == 1:
        if kernel in walk.leaves:
            for step in steps:
                flow = Flow(step, 0, kind, how="pass")
                walk.flows.setdefault((step.outputs[0], kind), {})[id(step), 0, kind, "pass"] = flow
            return kernel
        maker = walk.makers.get(kernel)
        if maker is None or maker.name != "convert_element_type":
            return None
        steps.append(maker)
        kernel = maker.inputs[0]
    return None
