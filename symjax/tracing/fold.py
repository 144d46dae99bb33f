"""Gains that linear readers take up: ``z g`` read only by ``W`` is linear in z as ``z (g W)``.

A matrix M on the units of z then acts on such a reader as ``W -> M^-T (g W) / g``, in the frame of the gain, which is
left as it is: the orthogonal group of a stream survives a normalisation with a gain.
"""

from typing import Any, NamedTuple

import numpy as np

from symjax.tracing.axes import Axis, monomials
from symjax.tracing.program import Equation, Value

__all__ = ["Fold", "fold"]

_ALIKE = ("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "convert_element_type")


class Fold(NamedTuple):
    """A gain, a vector that is a leaf, and the leaves that read what it multiplies, with the axes they do it by."""

    gain: Value
    readers: tuple[tuple[Value, int], ...]


def fold(ladder: Any, equation: Equation, atom: Axis) -> Fold | None:
    """The gain and its readers, if one factor of a product is a gain along the atom, and only kernels read the product.

    Every step between the leaves and here has one reader: nothing else sees the gain or the kernels.
    """
    (out,) = equation.outputs
    if out in ladder.axes.program.outputs:
        return None
    for value, other in (equation.inputs, equation.inputs[::-1]):
        places = [k for k in range(len(value.shape)) if atom in _atoms(ladder, value, k)]
        if len(places) != 1 or value.shape != out.shape or value.shape[places[0]] != atom.size:
            continue
        gain, readers = _vector(ladder, other, atom), _readers(ladder, out, places[0])
        if gain is not None and readers:
            return Fold(gain, tuple(readers))
    return None


def _atoms(ladder: Any, value: Value, axis: int) -> set[Axis]:
    return {atom for m in monomials(ladder.axes.axes[value][axis]) for atom, _ in m.factors}


def _vector(ladder: Any, value: Value, atom: Axis) -> Value | None:
    """The leaf that a value is along the atom; what else multiplies it is constant along the atom."""
    while len(ladder.readers.get(value, ())) == 1 and value.constant is None:
        if value in ladder.leaves:
            return value if value.shape == (atom.size,) else None
        maker = ladder.makers.get(value)
        if maker is not None and maker.name == "mul":
            varied = [operand for operand in maker.inputs if atom in ladder.of(operand)]
            if len(varied) != 1:
                return None
            value = varied[0]
        elif maker is not None and maker.name in _ALIKE and np.prod(maker.inputs[0].shape) == np.prod(value.shape):
            value = maker.inputs[0]
        else:
            return None
    return None


def _readers(ladder: Any, value: Value, axis: int) -> list[tuple[Value, int]] | None:
    """The leaves that contract a value along an axis, if nothing else reads it."""
    found: list[tuple[Value, int]] = []
    for reader in ladder.readers.get(value, ()):
        more = None
        if reader.name == "convert_element_type" and reader.outputs[0] not in ladder.axes.program.outputs:
            more = _readers(ladder, reader.outputs[0], axis)
        elif reader.name == "dot_general":
            more = _kernel(ladder, reader, value, axis)
        if not more:
            return None
        found += more
    return found


def _kernel(ladder: Any, equation: Equation, value: Value, axis: int) -> list[tuple[Value, int]] | None:
    place = 0 if equation.inputs[0] is value else 1
    summed, kernel = equation.params["dimension_numbers"][0], equation.inputs[1 - place]
    if tuple(summed[place]) != (axis,):
        return None
    while len(ladder.readers.get(kernel, ())) == 1 and kernel.constant is None:
        if kernel in ladder.leaves:
            return [(kernel, summed[1 - place][0])]
        maker = ladder.makers.get(kernel)
        if maker is None or maker.name != "convert_element_type":
            return None
        kernel = maker.inputs[0]
    return None
