"""How tokens pass through contractions, sums and look-ups."""

import itertools
from math import prod
from typing import NamedTuple

from symjax.tracing.axes import monomials
from symjax.tracing.centred import free_readers
from symjax.tracing.program import Equation, Value
from symjax.tracing.shifts import IDENTITY, Flow, Operator, ShiftsWalk, Tokens, atoms_at, plus
from symjax.tracing.units import CONSTANT, Layout, Part, Units, combine, position

__all__ = ["conv", "dot", "gathered", "sums"]

_WIDTH = 16


def sums(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """A sum along axes a token is constant along counts it; a component of mean zero sums to nothing."""
    value, gone = equation.inputs[0], sorted(equation.params["axes"])
    layout = walk.layout(value)
    kept = [axis for axis in range(len(layout)) if axis not in gone]
    out: Tokens = {}
    for operator, units in tokens[0].items():
        made: dict[int, Units] = {}
        for block, component in units.blocks.items():
            count, target = 1, tuple(block[axis] for axis in kept)
            for axis in gone:
                for atom, _ in layout[axis][block[axis]].factors:
                    count *= atom.size
            for codes, form in (component or {}).items():
                left = frozenset(
                    position(kept.index(code // _WIDTH), code % _WIDTH) for code in codes if code // _WIDTH not in gone
                )
                new, factor = operator, count
                if len(left) < len(codes):
                    if operator == IDENTITY:
                        continue
                    new, factor = _summed(walk, equation, walk.described[operator], operator, codes, kept), 1
                single = Units({target: {left: form}})
                made[new] = plus(walk, made.get(new, CONSTANT), single, factor)
        for new, result in made.items():
            walk.emit(out, equation.outputs[0], new, result, Flow(equation, 0, operator))
    return [{operator: units for operator, units in out.items() if units.blocks}]


def _summed(
    walk: ShiftsWalk, equation: Equation, key: tuple, operator: int, codes: frozenset[int], kept: list[int]
) -> int:
    """Operator of a sum: a factor that alone varies along the axes is summed in the token's place."""
    axes, shape, maker = tuple(equation.params["axes"]), equation.inputs[0].shape, walk.makers.get(equation.inputs[0])
    if key[0] == "times" and maker is not None and maker.name in ("mul", "square", "integer_pow"):
        _, before, (factor,), (own,) = key
        if not any(code // _WIDTH in axes for code in own):
            own = frozenset(position(kept.index(code // _WIDTH), code % _WIDTH) for code in own)
            return walk.operator("times", before, (("sum", factor, shape, axes),), (own,), walk.depends[operator])
    return walk.operator("sum", operator, (axes,), (codes,), walk.depends[operator])


def dot(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """The product rule for a contraction; rows that sum to one leave a constant as it is."""
    from symjax.tracing.rules_contract import dot_names

    *sides, out_names, summed = dot_names(equation)
    layouts = {name: monomials(axis) for name, axis in walk.axes.notes[id(equation)].items()}
    places = [[out_names.index(name) if name in out_names else -1 for name in side] for side in sides]
    out: Tokens = {}
    for place in (0, 1):
        gone = [axis for axis, name in enumerate(sides[place]) if name in summed]
        other = equation.inputs[1 - place]
        rows = frozenset(axis for axis, name in enumerate(sides[1 - place]) if name in summed)
        averages = bool(rows) and walk.normalised.get(other) == rows and other in walk.data
        contraction = _Contraction(equation, place, other, gone, averages, layouts, out_names, places[1 - place])
        for operator, units in tokens[place].items():
            part = walk.part(units, equation.inputs[place], sides[place], layouts)
            if None in part.names:
                walk.die({operator: units})
            else:
                contraction.follow(walk, operator, part, out)
        free_readers(walk, equation, place, sides, summed, out_names, out)
    return [{operator: units for operator, units in out.items() if units.blocks}]


class _Contraction(NamedTuple):
    """One operand of a contraction, seen from its tokens."""

    equation: Equation
    place: int
    other: Value
    gone: list[int]
    averages: bool
    layouts: dict
    out_names: list
    places: list[int]  # where the axes of the other operand are in the result, -1 where they are summed

    def follow(self, walk: ShiftsWalk, operator: Operator, part: Part, out: Tokens) -> None:
        """Tokens with one operator: each of its components becomes an operator of its own."""
        layout: Layout = tuple(self.layouts[name] for name in self.out_names)
        key, scale = walk.key(self.other)
        kept = [name for axis, name in enumerate(part.names) if axis not in self.gone]
        alike = self.averages and self._alike(walk, part)
        data = walk.depends[operator] or self.other in walk.data
        value, what = self.equation.outputs[0], (key, repr(self.equation.params["dimension_numbers"]), self.place)
        for block, component in part.units.blocks.items():
            target = tuple(n for axis, n in enumerate(block) if axis not in self.gone)
            shifted = {axis: k for k, axis in enumerate(a for a in range(len(block)) if a not in self.gone)}
            for codes, form in (component or {}).items():
                left = frozenset(position(shifted[c // _WIDTH], c % _WIDTH) for c in codes if c // _WIDTH in shifted)
                one = Part(Units({target: {left: form}}), tuple(kept))
                moved = combine(walk.system, [one], self.layouts, self.out_names)
                if alike and len(left) == len(codes):
                    if any(block[axis] for axis in self.gone):
                        continue  # the first segment's speaks for all
                    walk.emit(out, value, operator, moved, Flow(self.equation, self.place, operator, how="average"))
                    continue
                blocks = {
                    b: {c | walk.varied(self.other, b, self.places, layout): f for c, f in (comp or {}).items()}
                    for b, comp in moved.blocks.items()
                }
                came = tuple(block[axis] for axis in self.gone)
                new = walk.operator("dot", operator, what, (came, codes), data)
                walk.emit(out, value, new, Units(blocks), Flow(self.equation, self.place, operator), scale)

    def _alike(self, walk: ShiftsWalk, part: Part) -> bool:
        """Whether tokens that are constant along the rows are the same in all their segments."""
        seen: dict[tuple, list] = {}
        for block, component in part.units.blocks.items():
            rest = tuple(n for axis, n in enumerate(block) if axis not in self.gone)
            for codes, form in (component or {}).items():
                if not any(code // _WIDTH in self.gone for code in codes):
                    seen.setdefault((rest, codes), []).append(walk.system.reduce(form))
        segments = prod(len(self.layouts[part.names[axis]]) for axis in self.gone)
        return all(len(forms) == segments and all(form == forms[0] for form in forms) for forms in seen.values())


def conv(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Tokens of the image stay constant in space where no padding enters; those of the kernel see the image."""
    if id(equation) not in walk.axes.notes:
        for held in tokens:
            walk.die(held)
        return [{}]
    (out_value,), params = equation.outputs, equation.params
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    layout = walk.layout(out_value)
    space = list(out_spec[2:])
    padded = any(low or high for low, high in params["padding"]) or any(n != 1 for n in params["lhs_dilation"])
    out: Tokens = {}
    for place, held in enumerate(tokens):
        value, spec = equation.inputs[place], (lhs_spec, rhs_spec)[place]
        other = equation.inputs[1 - place]
        batch = out_spec[0] if place == 0 else out_spec[1]
        own = spec[0]  # the batch of the image, the output channels of the kernel
        key, scale = walk.key(other)
        columns = walk.layout(value)
        for operator, units in held.items():
            data = walk.depends[operator] or other in walk.data
            for block, component in units.blocks.items():
                for codes, form in (component or {}).items():
                    inside = any(code // _WIDTH in spec[2:] for code in codes) or padded
                    new = walk.operator("conv", operator, (key, place, id(equation)), (block, codes), data)
                    left = frozenset(position(batch, code % _WIDTH) for code in codes if code // _WIDTH == own)
                    blocks = {}
                    for target in itertools.product(*(range(len(axis)) for axis in layout)):
                        if layout[batch][target[batch]] != columns[own][block[own]]:
                            continue
                        extra = atoms_at(layout, target, space) if inside and place == 0 else frozenset()
                        if place == 0:
                            extra |= atoms_at(layout, target, [out_spec[1]])
                        else:
                            extra |= atoms_at(layout, target, [out_spec[0], *space])
                            if params["feature_group_count"] > 1:  # each group sees its own part of the image
                                extra |= atoms_at(layout, target, [out_spec[1]])
                        blocks[target] = {left | extra: form}
                    walk.emit(out, out_value, new, Units(blocks), Flow(equation, place, operator), scale)
    return [out]


def gathered(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Rows are looked up: constant along them, a token passes; else it depends on the indices."""
    walk.die(tokens[1])
    value, (out_value,) = equation.inputs[0], equation.outputs
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    windows = [place for place in range(len(value.shape)) if place not in gone]
    whole = {source: place for place, source in zip(numbers.offset_dims, windows, strict=True)}
    whole = {source: place for source, place in whole.items() if sizes[source] == value.shape[source]}
    layout, before = walk.layout(out_value), walk.layout(value)
    batch = [place for place in range(len(layout)) if place not in whole.values()]
    out: Tokens = {}
    for operator, units in tokens[0].items():
        for block, component in units.blocks.items():
            for codes, form in (component or {}).items():
                looked = any(code // _WIDTH not in whole for code in codes) or any(
                    len(before[axis]) > 1 for axis in range(len(before)) if axis not in whole
                )
                left = frozenset(
                    position(whole[code // _WIDTH], code % _WIDTH) for code in codes if code // _WIDTH in whole
                )
                blocks = {}
                for target in itertools.product(*(range(len(axis)) for axis in layout)):
                    if all(target[place] == block[source] for source, place in whole.items()):
                        extra = atoms_at(layout, target, batch) if looked else frozenset()
                        blocks[target] = {left | extra: form}
                new = operator
                if looked:
                    new = walk.operator("gather", operator, (id(equation),), (block, codes), True)
                how = "bind" if looked else "average"
                walk.emit(out, out_value, new, Units(blocks), Flow(equation, 0, operator, how=how))
    return [{operator: units for operator, units in out.items() if units.blocks}]
