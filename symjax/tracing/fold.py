"""Gains that linear readers take up: ``z g + b`` read only by ``W`` is linear in z as ``z (g W)``.

A matrix M on the units of z then acts on such a reader as ``W -> M^-T (g W) / g``, in the frame of the gain, which is
left as it is, and on the bias as ``b -> M (b / g) g``: the orthogonal group of a stream survives a normalisation with a
gain. Where an entry of the gain is zero, what that entry hides is left as it is.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from symjax.tracing.axes import Axis, monomials
from symjax.tracing.constants import varies
from symjax.tracing.program import Equation, Value

__all__ = ["Fold", "fold"]

_ALIKE = ("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "convert_element_type")
_MOVES = ("convert_element_type", "transpose", "reshape", "squeeze", "slice", "dynamic_slice", "concatenate")
_MOVES += ("reduce_sum",)  # along other axes


class Fold(NamedTuple):
    """A gain and what acts in its frame.

    Attributes:
      gain: a vector that is a leaf.
      plus: the number that is added to it before it multiplies, as in ``1 + g``.
      inside: identities of the equations that add it; no matrix acts there.
      readers: leaves that read the product, with the axes they do it by.
      offsets: vectors that are leaves and are added to the product.
    """

    gain: Value
    plus: float
    inside: frozenset[int]
    readers: tuple[tuple[Value, int], ...]
    offsets: tuple[Value, ...]


def fold(ladder: Any, equation: Equation, atom: Axis) -> Fold | None:
    """The gain and its readers, if one factor of a product is a gain along the atom, and only kernels read the product.

    Every step between the leaves and here has one reader: nothing else sees the gain, the bias or the kernels.
    """
    (out,) = equation.outputs
    for value, other in (equation.inputs, equation.inputs[::-1]):
        if value.constant is not None or value.shape != out.shape or _axis(ladder, value, atom) is None:
            continue
        gain, behind = _vector(ladder, other, atom), _behind(ladder, out, atom)
        if gain is not None and behind is not None:
            return Fold(*gain, *map(tuple, behind))
    return None


def _axis(ladder: Any, value: Value, atom: Axis) -> int | None:
    """The axis that is the atom, if it is on one only."""
    held = [
        k
        for k in range(len(value.shape))
        if any(atom is one for m in monomials(ladder.axes.axes[value][k]) for one, _ in m.factors)
    ]
    return held[0] if len(held) == 1 and value.shape[held[0]] == atom.size else None


def _vector(ladder: Any, value: Value, atom: Axis) -> tuple[Value, float, frozenset[int]] | None:
    """The leaf that a value is along the atom, and a number added to it; all else is constant along the atom."""
    plus, inside = 0.0, frozenset()
    while len(ladder.readers.get(value, ())) == 1 and value.constant is None:
        if value in ladder.leaves:
            return (value, plus, inside) if value.shape == (atom.size,) else None
        maker = ladder.makers.get(value)
        if maker is not None and maker.name == "mul" and not inside:
            varied = [operand for operand in maker.inputs if ladder.walked(operand) and atom in ladder.of(operand)]
            if len(varied) != 1 or not all(map(ladder.walked, maker.inputs)):
                return None
            value = varied[0]
        elif maker is not None and maker.name == "add" and (number := _number(maker)) is not None:
            plus, inside = plus + number, inside | {id(maker)}
            value = next(operand for operand in maker.inputs if operand.constant is None)
        elif maker is not None and maker.name in _ALIKE and np.prod(maker.inputs[0].shape) == np.prod(value.shape):
            value = maker.inputs[0]
        else:
            return None
    return None


def _number(equation: Equation) -> float | None:
    """The number that an addition adds."""
    known = [value.constant for value in equation.inputs if value.constant is not None]
    if len(known) != 1 or not known[0].size or any(varies(known[0], axis) for axis in range(known[0].ndim)):
        return None
    return float(known[0].flat[0])


def _behind(ladder: Any, start: Value, atom: Axis) -> tuple[list[tuple[Value, int]], list[Value]] | None:
    """The leaves that contract a value along the atom, and those added to it, if nothing else reads it."""
    seen, queue, readers, offsets = {start}, [start], [], []
    joins: list[Equation] = []
    while queue:
        value = queue.pop()
        equations, axis = ladder.readers.get(value, ()), _axis(ladder, value, atom)
        if not equations or axis is None or value in ladder.axes.program.outputs:
            return None
        for equation in equations:
            if equation.name == "dot_general":
                kernel = _kernel(ladder, equation, value, axis)
                if kernel is None:
                    return None
                readers.append(kernel)
                continue
            if equation.name == "add":
                other = equation.inputs[equation.inputs[0] is value]
                offset = _vector(ladder, other, atom)
                if offset is None or offset[2] or equation.outputs[0].shape != value.shape:
                    return None
                offsets.append(offset[0])
            elif equation.name in _MOVES or (equation.name in ("mul", "div") and _multiple(equation, value)):
                joins.append(equation)
            else:
                return None
            queue += [out for out in equation.outputs if out not in seen]
            seen.update(equation.outputs)
    # what is laid beside it is it, too
    whole = all(operand in seen or operand.constant is not None for one in joins for operand in one.inputs)
    plain = all(operand.constant is None for one in joins if one.name == "concatenate" for operand in one.inputs)
    return (readers, offsets) if whole and plain and readers else None


def _multiple(equation: Equation, value: Value) -> bool:
    """Whether the result is a number times the value."""
    number = equation.inputs[1].constant
    return (
        equation.inputs[0] is value and number is not None and not any(map(partial(varies, number), range(number.ndim)))
    )


def _kernel(ladder: Any, equation: Equation, value: Value, axis: int) -> tuple[Value, int] | None:
    place = 0 if equation.inputs[0] is value else 1
    summed, kernel = equation.params["dimension_numbers"][0], equation.inputs[1 - place]
    if tuple(summed[place]) != (axis,):
        return None
    while len(ladder.readers.get(kernel, ())) == 1 and kernel.constant is None:
        if kernel in ladder.leaves:
            return kernel, summed[1 - place][0]
        maker = ladder.makers.get(kernel)
        if maker is None or maker.name != "convert_element_type":
            return None
        kernel = maker.inputs[0]
    return None
