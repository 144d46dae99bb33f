"""Translations: the derivative of every tensor along additions to the leaves, followed until it cancels or must vanish.

An addition to a leaf splits, as degrees do, into components that vary over a set of its atoms and are constant along
the others. What becomes of one is a *token*: an operator (the identity, or products and contractions with other values)
with the index positions it varies along, and a linear form in the unknown components. Tokens pass through linear
operations, cancel in differences such as ``x - mean(x)``, and must vanish where an operation is not linear. At a sum
``z + b`` with a leaf b that is read nowhere else, tokens of z that do not depend on the input are absorbed:
``b := b' - token`` is a change of variable, so nothing is lost.
"""

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from symjax.tracing.forms import Form, plain
from symjax.tracing.ladder import Ladder
from symjax.tracing.program import Equation, Value
from symjax.tracing.units import ANY, CONSTANT, Component, Positions, Units, position
from symjax.tracing.walk import AxesWalk, Rule, UnitsWalk

__all__ = [
    "IDENTITY",
    "WEIGHTED",
    "WRITTEN",
    "Absorbed",
    "Flow",
    "ShiftsWalk",
    "Tokens",
    "atoms_at",
    "number_of",
    "plus",
]
__all__ += ["walk_shifts"]

Operator = int
Tokens = dict[Operator, Units]
IDENTITY: Operator = 0
WEIGHTED: Operator = -1  # of what is added to a kernel behind a normalisation (:mod:`symjax.tracing.centred`)
WRITTEN: Operator = -2  # and in front of a gain (:mod:`symjax.tracing.written`)


class Flow(NamedTuple):
    """A step of tokens: an operand's, by their operator and then by their label, give the output others."""

    equation: Equation
    place: int
    before: int
    factor: float = 1.0
    # "bind" the primitive with the operand replaced, "move" it with zeros for the others, "pass" the operand on,
    # multiply by "twice" the operand, "average" over rows, contract with the "offset" of a centred operand
    how: str = "bind"


class Absorbed(NamedTuple):
    """Tokens of ``value`` taken up by a leaf: added to it with ``factor``."""

    leaf: Value
    operand: Value  # the leaf as it stands in the sum
    value: Value
    labels: tuple[int, ...]
    forms: tuple[Form, ...]
    factor: float


class ShiftsWalk(UnitsWalk):
    """Tokens of every value."""

    def __init__(self, axes: AxesWalk, ladder: Ladder) -> None:
        super().__init__(axes, signs=False)
        self.ladder = ladder
        self.tokens: dict[Value, Tokens] = {}
        self.flows: dict[tuple[Value, int], dict[tuple, Flow]] = {}
        self.absorbed: list[Absorbed] = []
        self.data: set[Value] = set(axes.program.inputs)
        self.normalised: dict[Value, frozenset[int]] = {}
        self.centred: dict[Value, Any] = {}
        self.makers: dict[Value, Equation] = {}
        self.depends: list[bool] = [False]  # whether an operator depends on the input
        self.described: list[Any] = ["identity"]
        self.labels: dict[tuple[Value, Operator], int] = {}
        self._operators: dict[Hashable, Operator] = {}
        self._reduced: dict[Value, int] = {}  # how many equations were solved when its tokens were last reduced
        self._steps: dict[Value, list[tuple[Operator, Flow]]] = {}
        self.leaves = set(axes.program.leaves)

    def tokens_of(self, value: Value) -> Tokens:
        """Tokens of an operand, without those that have vanished since."""
        if value.constant is not None:
            return {}
        if value not in self.tokens and value in self.leaves:
            units = self._leaf(value)
            self.tokens[value] = {} if units is CONSTANT else {IDENTITY: units}
        held = self.tokens.get(value, {})
        if held and self._reduced.get(value) != self.system.solved:
            self._reduced[value] = self.system.solved
            reduced = ((operator, self.reduced(units)) for operator, units in held.items())
            self.tokens[value] = held = {operator: units for operator, units in reduced if units.blocks}
        return held

    def reduced(self, units: Units) -> Units:
        """Forms in unknowns that are still free; zeros are dropped."""
        blocks = {}
        for block, component in units.blocks.items():
            kept = {codes: form for codes, old in (component or {}).items() if (form := self.system.reduce(old))}
            if kept:
                blocks[block] = kept
        return Units(blocks)

    def operator(self, kind: str, before: Operator, what: tuple, component: tuple, data: bool) -> Operator:
        """The operator of a description; equal descriptions are one operator.

        Components of one addition are independent, so an operator is one for each component it began with.
        """
        key = (kind, before, what, component)
        if key not in self._operators:
            self._operators[key] = len(self.depends)
            self.depends.append(data)
            self.described.append(key)
        return self._operators[key]

    def emit(self, out: Tokens, value: Value, operator: Operator, units: Units, flow: Flow, factor: Any = 1) -> None:
        """Add tokens to those of an output, and note where they come from."""
        if units is CONSTANT or units is ANY or not units.blocks:
            return
        out[operator] = plus(self, out.get(operator, CONSTANT), units, plain(factor))
        self._steps.setdefault(value, []).append((operator, flow))

    def label(self, value: Value, operator: Operator) -> int:
        """What a token's numbers are computed as: tokens of one label at a value have one tangent together."""
        return operator if operator in (WEIGHTED, WRITTEN) else self.labels.get((value, operator), IDENTITY)

    def settle(self) -> None:
        """Label the tokens that an equation gave: what one tangent gives, or gives to one operator, is together."""
        for value, steps in self._steps.items():
            links: dict[Operator, Operator] = {}

            def root(operator: Operator, links: dict = links) -> Operator:
                while links.setdefault(operator, operator) != operator:
                    operator = links[operator]
                return operator

            flows = [
                Flow(equation, place, self.label(equation.inputs[place], before), factor, how)
                for _, (equation, place, before, factor, how) in steps
            ]
            nodes = [(id(flow.equation), flow.place, flow.before, flow.how) for flow in flows]
            first: dict[Hashable, Operator] = {}
            for (operator, _), node in zip(steps, nodes, strict=True):
                links[root(first.setdefault(node, operator))] = root(operator)
            numbers: dict[Operator, int] = {}
            for (operator, _), flow, node in zip(steps, flows, nodes, strict=True):
                label = numbers.setdefault(root(operator), len(numbers))
                self.labels[value, operator] = label
                self.flows.setdefault((value, label), {})[node] = flow
        self._steps.clear()

    def die(self, tokens: Tokens) -> None:
        """Require tokens to vanish."""
        for units in tokens.values():
            for component in units.blocks.values():
                for form in (component or {}).values():
                    self.system.zero(form)

    def varied(self, value: Value, block: tuple[int, ...], places: Sequence[int], layout: Any) -> Positions:
        """Positions a value varies along: ``places`` are its axes' places in a layout, -1 where it has none there."""
        found = set()
        for axis, place in enumerate(places):
            if place < 0 or value.shape[axis] == 1:
                continue
            atoms = layout[place][block[place]].factors
            if value.constant is not None:
                found |= {position(place, k) for k in range(len(atoms))} if _differs(value.constant, axis) else set()
            else:
                held = self.ladder.of(value)
                found |= {position(place, k) for k, (atom, _) in enumerate(atoms) if atom in held}
        return frozenset(found)

    def key(self, value: Value) -> tuple[Hashable, Fraction]:
        """A value up to a number: what it is a multiple of, and the factor."""
        scale = Fraction(1)
        while (maker := self.makers.get(value)) is not None:
            if maker.name in ("div", "mul"):
                places = (1,) if maker.name == "div" else (1, 0)
                known = next((p for p in places if number_of(maker.inputs[p])), None)
                if known is None:
                    break
                number = number_of(maker.inputs[known])
                scale = scale / number if maker.name == "div" else scale * number
                value = maker.inputs[1 - known]
            elif maker.name in _ALIKE and np.prod(maker.inputs[0].shape) == np.prod(value.shape):
                value = maker.inputs[0]
            elif maker.name == "reduce_sum":
                inner, factor = self.key(maker.inputs[0])
                return ("sum", inner, maker.inputs[0].shape, tuple(maker.params["axes"])), scale * factor
            else:
                break
        return id(value), scale


# the same numbers in the same order, if they are as many
_ALIKE = ("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "convert_element_type")


def number_of(value: Value) -> Fraction | None:
    """The number a constant is everywhere, a simple fraction where it is one."""
    constant = value.constant
    if constant is None or not constant.size or constant.dtype == np.bool_:
        return None
    first = constant.flat[0]
    if not np.isfinite(first) or not np.all(constant == first):
        return None
    exact = Fraction(float(first))
    simple = exact.limit_denominator(10**6)
    return simple if simple and abs(simple / exact - 1) < 1e-6 else exact


def _differs(array: np.ndarray, axis: int) -> bool:
    return bool(array.strides[axis]) and not np.all(array == np.take(array, [0], axis))


def plus(walk: ShiftsWalk, left: Units, right: Units, factor: Any = 1) -> Units:
    """Sum of two tokens of one operator."""
    if not left.blocks and factor == 1:
        return right
    blocks: dict[tuple[int, ...], Component | None] = dict(left.blocks)
    for block, component in right.blocks.items():
        total = dict(blocks.get(block) or {})
        for codes, form in (component or {}).items():
            if value := walk.system.add(total.get(codes, {}), form, factor):
                total[codes] = value
            else:
                total.pop(codes, None)
        blocks[block] = total
    return Units({block: component for block, component in blocks.items() if component})


_NOTED = ("div", "transpose", "convert_element_type", "sub")  # whose rules note more than tokens


def walk_shifts(axes: AxesWalk, ladder: Ladder, rules: Mapping[str, Rule]) -> ShiftsWalk:
    """Follow every token; the outputs have none."""
    from symjax.tracing.centred import note_move

    walk = ShiftsWalk(axes, ladder)
    for number, equation in enumerate(axes.program.equations):
        walk.number = number
        for out in equation.outputs:
            walk.makers[out] = equation
            if any(value in walk.data for value in equation.inputs):
                walk.data.add(out)
        if equation.inputs and equation.inputs[0] in walk.centred:
            note_move(walk, equation)
        tokens = [walk.tokens_of(value) for value in equation.inputs]
        rule = rules.get(equation.name)
        outputs: list[Tokens] = [{} for _ in equation.outputs]
        if rule is None or rule.shifts is None:
            for held in tokens:
                walk.die(held)
        elif any(tokens) or equation.name in _NOTED or any(value in walk.centred for value in equation.inputs):
            outputs = rule.shifts(walk, equation, tokens)
            walk.settle()
        walk.tokens.update(zip(equation.outputs, outputs, strict=True))
    for value in axes.program.outputs:
        walk.die(walk.tokens_of(value))
    return walk


def atoms_at(layout: Sequence[Any], block: tuple[int, ...], places: Sequence[int]) -> Positions:
    """All positions of some axes."""
    return frozenset(position(place, k) for place in places for k in range(len(layout[place][block[place]].factors)))
