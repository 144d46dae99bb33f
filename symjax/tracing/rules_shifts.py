"""How tokens (:mod:`symjax.tracing.shifts`) pass through primitives; the entries of the table name these rules."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symjax.tracing.centred import note_product, note_sum
from symjax.tracing.constants import any_degree
from symjax.tracing.program import Equation, Value
from symjax.tracing.shifts import IDENTITY, Absorbed, Flow, ShiftsWalk, Tokens, number_of, plus
from symjax.tracing.units import CONSTANT, Part, Units, combine
from symjax.tracing.written import free_writers

__all__ = ["add", "divide", "extremes", "larger", "moves", "multiply", "negate", "passes", "select", "square"]

_WIDTH = 16


def moves(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Entries are moved: the rule for units moves tokens too, one operator after the other."""
    from symjax.tracing.rules import RULES

    outputs: list[Tokens] = [{} for _ in equation.outputs]
    for place, held in enumerate(tokens):
        for operator, units in held.items():
            inputs = [CONSTANT] * len(equation.inputs)
            inputs[place] = units
            moved = RULES[equation.name].units(walk, equation, inputs)
            for out, value, result in zip(outputs, equation.outputs, moved, strict=True):
                walk.emit(out, value, operator, result, Flow(equation, place, operator, how="move"))
    if equation.name == "transpose" and equation.inputs[0] in walk.normalised:
        axes = walk.normalised[equation.inputs[0]]
        order = equation.params["permutation"]
        walk.normalised[equation.outputs[0]] = frozenset(k for k, axis in enumerate(order) if axis in axes)
    return outputs


def passes(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """The value itself, in another type."""
    if equation.inputs[0] in walk.centred:
        walk.centred[equation.outputs[0]] = walk.centred[equation.inputs[0]]
    if equation.inputs[0] in walk.normalised:
        walk.normalised[equation.outputs[0]] = walk.normalised[equation.inputs[0]]
    return scaled(walk, equation, tokens[0], 0, 1)


def negate(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """The opposite."""
    return scaled(walk, equation, tokens[0], 0, -1)


def scaled(walk: ShiftsWalk, equation: Equation, tokens: Tokens, place: int, factor: Any) -> list[Tokens]:
    """A multiple of one operand."""
    out: Tokens = {}
    for operator, units in tokens.items():
        stretched = _stretched(walk, equation, units, place)
        flow = Flow(equation, place, operator, float(factor), "pass")
        walk.emit(out, equation.outputs[0], operator, stretched, flow, factor)
    return [out]


def _stretched(walk: ShiftsWalk, equation: Equation, units: Units, place: int) -> Units:
    """Tokens of an operand in the layout of the output."""
    layouts, value = walk.layout(equation.outputs[0]), equation.inputs[place]
    names = tuple(range(len(layouts))) if len(value.shape) == len(layouts) else ()
    part = walk.part(units, value, names, dict(enumerate(layouts)))
    axes = tuple(range(len(layouts)))
    return part.units if part.names == axes else combine(walk.system, [part], dict(enumerate(layouts)), axes)


def add(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Tokens add; those of one operand may be absorbed by a leaf that is the other."""
    signs = (1, -1 if equation.name == "sub" else 1)
    note_sum(walk, equation)
    tokens = [dict(held) for held in tokens]
    for place in (1, 0):
        if tokens[1 - place]:
            _absorb(walk, equation, tokens[1 - place], place, signs)
    out: Tokens = {}
    for place, sign in enumerate(signs):
        for operator, units in scaled(walk, equation, tokens[place], place, sign)[0].items():
            out[operator] = plus(walk, out.get(operator, CONSTANT), units)
    return [{operator: units for operator, units in out.items() if units.blocks}]


def _absorb(walk: ShiftsWalk, equation: Equation, tokens: Tokens, place: int, signs: Sequence[int]) -> None:
    """Take tokens of the other operand that the leaf at ``place`` can make up for."""
    operand, other = equation.inputs[place], equation.inputs[1 - place]
    leaf = _only_reader(walk, operand)
    if (
        leaf is None
        or any(leaf is taken.leaf for taken in walk.absorbed)
        or len(operand.shape) != len(equation.outputs[0].shape)
    ):
        return
    layout = walk.layout(equation.outputs[0])
    held: dict[int, list] = {}
    for operator in tokens:
        held.setdefault(walk.label(other, operator), []).append(operator)
    labels, forms = [], []
    for label, operators in held.items():
        if IDENTITY in operators or any(walk.depends[operator] for operator in operators):
            continue
        stretched = [_stretched(walk, equation, tokens[operator], 1 - place) for operator in operators]
        if all(
            codes <= walk.varied(operand, block, range(len(layout)), layout)
            for units in stretched
            for block, component in units.blocks.items()
            for codes in component or {}
        ):
            labels.append(label)
            forms += [
                f for units in stretched for component in units.blocks.values() for f in (component or {}).values()
            ]
            for operator in operators:
                del tokens[operator]
    if labels:
        factor = -signs[1 - place] / signs[place]
        walk.absorbed.append(Absorbed(leaf, operand, other, tuple(labels), tuple(forms), factor))


_MOVES = ("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "transpose", "convert_element_type", "copy")


def _only_reader(walk: ShiftsWalk, value: Value) -> Value | None:
    """The leaf that a value is, if nothing else reads it."""
    while True:
        if len(walk.readers(value)) != 1:
            return None
        maker = walk.makers.get(value)
        if maker is None:
            return value if value in walk.leaves else None
        if maker.name not in _MOVES:
            return None
        value = maker.inputs[0]


def multiply(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """The product rule: tokens of one factor times the other."""
    note_product(walk, equation)
    out: Tokens = {}
    for place in (0, 1):
        if tokens[place]:
            _times(walk, equation, tokens[place], place, out)
    free_writers(walk, equation, out)
    return [{operator: units for operator, units in out.items() if units.blocks}]


def divide(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Tokens of the numerator; the denominator must have none."""
    walk.die(tokens[1])
    _note_rows(walk, equation)
    note_product(walk, equation)
    out: Tokens = {}
    if tokens[0]:
        _times(walk, equation, tokens[0], 0, out)
    return [out]


def _note_rows(walk: ShiftsWalk, equation: Equation) -> None:
    """A quotient by the sum of the numerator has rows that sum to one."""
    above, below = equation.inputs
    while (maker := walk.makers.get(below)) is not None and maker.name in _MOVES:
        below = maker.inputs[0]
    if maker is not None and maker.name == "reduce_sum" and maker.inputs[0] is above:
        walk.normalised[equation.outputs[0]] = frozenset(maker.params["axes"])


def square(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Twice the value times its tokens."""
    if equation.params.get("y", 2) != 2:
        walk.die(tokens[0])
        return [{}]
    out: Tokens = {}
    _times(walk, equation, tokens[0], 0, out)
    return [out]


def _times(walk: ShiftsWalk, equation: Equation, tokens: Tokens, place: int, out: Tokens) -> None:
    """Tokens of an operand times the other operand, or times itself twice."""
    twice = len(equation.inputs) == 1
    value = equation.outputs[0]
    factor = equation.inputs[0 if twice else 1 - place]
    number = None if twice else number_of(factor)
    if number is not None:
        ratio = 1 / number if equation.name == "div" and number else number
        for operator, units in tokens.items():
            flow = Flow(equation, place, operator)
            walk.emit(out, value, operator, _stretched(walk, equation, units, place), flow, ratio)
        return
    key, scale = walk.key(factor)
    if equation.name == "div":
        key, scale = ("inverse", key), 1 / scale
    layout = walk.layout(value)
    places = range(len(layout)) if len(factor.shape) == len(layout) else [-1] * len(factor.shape)
    for operator, units in tokens.items():
        data = walk.depends[operator] or factor in walk.data
        made: dict[int, dict] = {}
        for block, component in _stretched(walk, equation, units, place).blocks.items():
            varied = walk.varied(factor, block, places, layout)
            for codes, form in (component or {}).items():
                new = walk.operator("times", operator, (key,), (codes,), data)
                made.setdefault(new, {}).setdefault(block, {})[codes | varied] = form
        for new, blocks in made.items():
            flow = Flow(equation, place, operator, how="twice" if twice else "bind")
            walk.emit(out, value, new, Units(blocks), flow, scale * (2 if twice else 1))


def extremes(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """The largest along axes all of which a token is constant along moves with it."""
    value, out_value = equation.inputs[0], equation.outputs[0]
    window = equation.params.get("window_dimensions")
    gone = [k for k, n in enumerate(window) if n != 1] if window else list(equation.params["axes"])
    out: Tokens = {}
    layout = walk.layout(value)
    for operator, units in tokens[0].items():
        touched = [
            form
            for component in units.blocks.values()
            for codes, form in (component or {}).items()
            if any(code // _WIDTH in gone for code in codes)
        ]
        for form in touched:
            walk.system.zero(form)
        names: list = list(range(len(layout)))
        rest = [axis for axis in names if axis not in gone]
        flat = combine(walk.system, [Part(walk.reduced(units), tuple(names))], dict(enumerate(layout)), rest, gone)
        after = walk.layout(out_value)
        if window:
            flat = combine(walk.system, [Part(flat, tuple(rest))], dict(enumerate(after)), tuple(names))
        walk.emit(out, out_value, operator, flat, Flow(equation, 0, operator))
    return [out]


def larger(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """The larger of two is linear only beside an infinity."""
    for place in (0, 1):
        constant = equation.inputs[place].constant
        if constant is not None and any_degree(constant) == "infinite" and np.all(np.isinf(constant)):
            return scaled(walk, equation, tokens[1 - place], 1 - place, 1)
    for held in tokens:
        walk.die(held)
    return [{}]


def select(walk: ShiftsWalk, equation: Equation, tokens: list[Tokens]) -> list[Tokens]:
    """Cases move alike; a mask's constant moves as anything."""
    cases = list(range(1, len(tokens)))
    free = [
        place
        for place in cases
        if equation.inputs[place].constant is not None
        and any_degree(equation.inputs[place].constant) in ("infinite", "mask")
    ]
    rest = [place for place in cases if place not in free]
    walk.die(tokens[0])
    first = scaled(walk, equation, tokens[rest[0]], rest[0], 1)[0] if rest else {}
    for place in rest[1:]:
        for operator in first.keys() | tokens[place].keys():
            other = _stretched(walk, equation, tokens[place].get(operator, CONSTANT), place)
            walk.die({0: plus(walk, first.get(operator, CONSTANT), other, -1)})
    if any(any_degree(equation.inputs[place].constant) == "mask" for place in free):
        walk.masks += first.values()
    return [first]
