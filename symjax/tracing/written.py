"""Writers behind a gain: what is added along it, divided by it, reaches a stream as the same number in every unit.

With ``y = (h K + b) g``, an addition ``u / g`` to K or b along the axis of g moves y by ``h u``, alike in all units: a
norm that subtracts the mean does not see it. So it is of a layer scale in front of a LayerNorm.
"""

import itertools
from collections.abc import Sequence

from symjax.tracing.axes import Axis, monomials
from symjax.tracing.centred import leaf_behind
from symjax.tracing.program import Equation, Value
from symjax.tracing.shifts import IDENTITY, WRITTEN, Flow, ShiftsWalk, Tokens
from symjax.tracing.units import Part, Units, combine, position
from symjax.tracing.walk import Unknown

__all__ = ["free_writers"]


def free_writers(walk: ShiftsWalk, equation: Equation, out: Tokens) -> None:
    """New unknowns for the kernel and the biases of a value that a vector multiplies, if nothing else reads it."""
    for place in (0, 1):
        value, gain = equation.inputs[place], equation.inputs[1 - place]
        along = [axis for axis, n in enumerate(gain.shape) if n != 1]
        if value in walk.data and gain not in walk.data and gain.constant is None and len(along) == 1:
            if value.shape[along[0] :][:1] == (gain.shape[along[0]],) and value.shape == equation.outputs[0].shape:
                _back(walk, _Scaled(walk, equation, place, gain, along[0], out), value)


class _Scaled:
    """A product of a value and a vector along an axis."""

    def __init__(self, walk: ShiftsWalk, equation: Equation, place: int, gain: Value, axis: int, out: Tokens) -> None:
        self.walk, self.equation, self.place, self.gain, self.axis, self.out = walk, equation, place, gain, axis, out
        self.layout = walk.layout(equation.outputs[0])

    def add(self, leaf: Value, block: tuple[int, ...], chosen: tuple, axis: int, data: bool, token: Units) -> None:
        """An unknown of a leaf, and what the product becomes of it."""
        walk = self.walk
        walk.unknowns.append(Unknown(leaf, block, chosen, (self.gain, axis, WRITTEN)))
        codes = frozenset(code for code, _ in chosen)
        new = walk.operator("written", IDENTITY, (id(self.equation), id(leaf)), (block, codes), data)
        walk.emit(self.out, self.equation.outputs[0], new, token, Flow(self.equation, self.place, WRITTEN))


def _back(walk: ShiftsWalk, scaled: _Scaled, value: Value) -> None:
    """Biases and a kernel on the way back, while each value has one reader."""
    while len(walk.readers(value)) == 1 and value not in walk.axes.program.outputs:
        maker = walk.makers.get(value)
        if maker is None or walk.layout(value) != scaled.layout:
            return
        if maker.name == "dot_general":
            _kernel(walk, scaled, maker)
            return
        if maker.name == "convert_element_type":
            _note(walk, maker, 0, "pass")
            value = maker.inputs[0]
        elif maker.name == "add":
            place = next((k for k in (0, 1) if maker.inputs[k] in walk.data), 0)
            if maker.inputs[1 - place] in walk.data or not _bias(walk, scaled, maker, 1 - place):
                return
            _note(walk, maker, place, "pass")
            value = maker.inputs[place]
        else:
            return


def _note(walk: ShiftsWalk, equation: Equation, place: int, how: str) -> None:
    flow = Flow(equation, place, WRITTEN, how=how)
    walk.flows.setdefault((equation.outputs[0], WRITTEN), {})[id(equation), place, WRITTEN, how] = flow


def _bias(walk: ShiftsWalk, scaled: _Scaled, equation: Equation, place: int) -> bool:
    """A vector, read here alone, that is added along the axis."""
    operand, steps = equation.inputs[place], []
    if operand.constant is not None or any((n != 1) != (k == scaled.axis) for k, n in enumerate(operand.shape)):
        return False
    leaf = operand
    while leaf not in walk.leaves:
        maker = walk.makers.get(leaf)
        if maker is None or maker.name not in ("broadcast_in_dim", "reshape", "convert_element_type"):
            return False
        steps.append(maker)
        leaf = maker.inputs[0]
    if any(len(walk.readers(one)) != 1 for one in (leaf, *(step.outputs[0] for step in steps))):
        return False
    if len(leaf.shape) != 1 or len(walk.layout(leaf)[0]) != 1:
        return False
    for step in steps:
        _note(walk, step, 0, "bind")
    _note(walk, equation, place, "pass")
    form = walk.system.unknown()
    names = tuple(range(len(scaled.layout)))
    token = combine(walk.system, [Part(Units({(): {frozenset(): form}}), ())], dict(enumerate(scaled.layout)), names)
    scaled.add(leaf, (0,), (), 0, False, token)
    return True


def _kernel(walk: ShiftsWalk, scaled: _Scaled, equation: Equation) -> None:
    """A kernel, read here alone, with one axis that becomes the gain's."""
    from symjax.tracing.rules_contract import dot_names

    *sides, out_names, summed = dot_names(equation)
    layouts = {name: monomials(axis) for name, axis in walk.axes.notes[id(equation)].items()}
    for place in (0, 1):
        kernel, other, names = equation.inputs[place], equation.inputs[1 - place], list(sides[place])
        if kernel in walk.data or out_names[scaled.axis] not in names:
            continue
        axis, layout = names.index(out_names[scaled.axis]), walk.layout(kernel)
        if len(layout[axis]) != 1 or any(column != layouts[name] for column, name in zip(layout, names, strict=True)):
            continue
        leaf = leaf_behind(walk, kernel, WRITTEN)
        if leaf is None:
            continue
        _note(walk, equation, place, "bind")
        seen = [out_names.index(name) if name in out_names else -1 for name in sides[1 - place]]
        kept = [k for k in range(len(names)) if k != axis and names[k] not in summed]
        for block, chosen in _choices(layout, axis):
            form = walk.system.unknown()
            left = frozenset(position(kept.index(code // 16), code % 16) for code, _ in chosen if code // 16 in kept)
            part = Part(Units({tuple(block[k] for k in kept): {left: form}}), tuple(names[k] for k in kept))
            moved = combine(walk.system, [part], layouts, out_names)
            blocks = {
                b: {codes | walk.varied(other, b, seen, scaled.layout): f for codes, f in (component or {}).items()}
                for b, component in moved.blocks.items()
            }
            scaled.add(leaf, block, chosen, axis, True, Units(blocks))


def _choices(layout: Sequence, without: int) -> list[tuple[tuple[int, ...], tuple[tuple[int, Axis], ...]]]:
    """Every block, with every set of its atoms that are not on an axis."""
    found = []
    for block in itertools.product(*(range(len(column)) for column in layout)):
        atoms = [
            (position(k, digit), atom)
            for k, n in enumerate(block)
            if k != without
            for digit, (atom, _) in enumerate(layout[k][n].factors)
        ]
        for size in range(len(atoms) + 1):
            found += [
                (block, chosen)
                for chosen in itertools.combinations(atoms, size)
                if len({id(atom) for _, atom in chosen}) == size
            ]
    return found
