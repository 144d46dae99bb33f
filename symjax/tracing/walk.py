"""The walks over a program: first the axes of every value, then its units, one equation after the other."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from symjax.tracing.axes import Axis, Cause, freeze, monomials
from symjax.tracing.constants import any_degree, varies
from symjax.tracing.forms import Equations
from symjax.tracing.program import Equation, Program, Value
from symjax.tracing.units import ANY, CONSTANT, ONE, Layout, Part, Units, combine, position, vanish

__all__ = ["AxesWalk", "Rule", "UnitsWalk", "walk_axes", "walk_units"]


class Rule(NamedTuple):
    """What a primitive means in each analysis; the table is :data:`symjax.tracing.rules.RULES`.

    Attributes:
      axes: ``axes(walk, equation, inputs) -> outputs``, the axes of each; unifies and freezes on the way.
      units: ``units(walk, equation, inputs) -> outputs``, the units of each; sets equations on the way.
      linear: ``linear(ladder, equation)``, reports the atoms on which the primitive is not linear; None: all.
      shifts: ``shifts(walk, equation, tokens) -> outputs``, what becomes of additions; None: they must vanish.
    """

    axes: Callable[["AxesWalk", Equation, list[tuple[Axis, ...]]], list[tuple[Axis, ...]]]
    units: Callable[["UnitsWalk", Equation, list[Units]], list[Units]]
    linear: Callable[[Any, Equation], None] | None = None
    shifts: Callable[[Any, Equation, list[Any]], list[Any]] | None = None


class AxesWalk:
    """Axes of every value that is no constant."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.axes: dict[Value, tuple[Axis, ...]] = {}
        self._layouts: dict[Value, Layout] = {}
        self.notes: dict[int, Any] = {}  # what a rule's axes leave for its units, by the identity of the equation
        for value in (*program.leaves, *program.inputs):
            self.axes[value] = tuple(map(Axis, value.shape))

    def of(self, value: Value, cause: Cause) -> tuple[Axis, ...]:
        """Axes of an operand; a constant has new ones, frozen where its entries differ."""
        if value.constant is None:
            return self.axes[value]
        axes = tuple(map(Axis, value.shape))
        for place, axis in enumerate(axes):
            if axis.size > 1 and varies(value.constant, place):
                freeze(axis, cause)
        return axes

    def layout(self, value: Value) -> Layout:
        """Monomials of each axis, when the walk is over."""
        if value not in self._layouts:
            self._layouts[value] = tuple(map(monomials, self.axes[value]))
        return self._layouts[value]


def walk_axes(program: Program, rules: Mapping[str, Rule], unknown: Rule) -> AxesWalk:
    """Solve all equations between axes, then freeze those of inputs and outputs."""
    walk = AxesWalk(program)
    for equation in program.equations:
        cause = Cause(equation.name, equation)
        inputs = [walk.of(value, cause) for value in equation.inputs]
        outputs = rules.get(equation.name, unknown).axes(walk, equation, inputs)
        walk.axes.update(zip(equation.outputs, outputs, strict=True))
    for values, cause in ((program.inputs, Cause("input")), (program.outputs, Cause("output"))):
        for value in values:
            for axis in walk.axes.get(value, ()):
                freeze(axis, cause)
    return walk


class UnitsWalk:
    """Units of every value, over the rationals (``signs`` False) or modulo two."""

    def __init__(self, axes: AxesWalk, signs: bool) -> None:
        self.axes, self.signs = axes, signs
        self.system = Equations(2 if signs else None)
        self.units: dict[Value, Units] = dict.fromkeys(axes.program.inputs, CONSTANT)
        self.epsilons: list[tuple[tuple[int, int], Units]] = []  # (equation, operand) and the units it is added to
        self.masks: list[Units] = []
        self.unknowns: list[Unknown] = []
        self.number = 0
        self._readers: dict[Value, list[Equation]] | None = None

    def layout(self, value: Value) -> Layout:
        """Monomials of each axis."""
        return self.axes.layout(value)

    def of(self, value: Value) -> Units:
        """Units of an operand."""
        if value.constant is not None:
            return ANY if self.any(value) else CONSTANT
        if value not in self.units:
            self.units[value] = self._leaf(value)
        return self.units[value]

    def any(self, value: Value) -> str:
        """Why a constant may have any units, else ""."""
        why = any_degree(value.constant)
        return "" if self.signs and why != "zero" else why

    def readers(self, value: Value) -> list[Equation]:
        """Equations that read a value."""
        if self._readers is None:
            self._readers = {}
            for equation in self.axes.program.equations:
                for operand in equation.inputs:
                    self._readers.setdefault(operand, []).append(equation)
        return self._readers.get(value, [])

    def part(self, units: Units, value: Value, names: Sequence[Any], layouts: Mapping[Any, Any]) -> Part:
        """A factor with named axes: broadcast where its axis has length one, uniform where it is cut otherwise."""
        if units is ANY or units is CONSTANT:
            return Part(units, (None,) * len(value.shape))
        layout, given = self.layout(value), list(names)
        wrong = []
        for axis, name in enumerate(given):
            if name is not None and layout[axis] != layouts[name]:
                if value.shape[axis] != 1:
                    wrong.append(axis)
                given[axis] = None
        if wrong:
            units = self.flatten(units, layout, wrong)
        return Part(units, tuple(given))

    def flatten(self, units: Units, layout: Layout, axes: Sequence[int]) -> Units:
        """Require units that do not vary along some axes, which keep the rank with length one."""
        if units is ANY or units is CONSTANT:
            return units
        names = tuple(range(len(layout)))
        layouts = dict(enumerate(layout)) | {("one", axis): ONE for axis in axes}
        out = tuple(("one", axis) if axis in axes else axis for axis in names)
        return combine(self.system, [Part(units, names)], layouts, out, tuple(axes))

    def aligned(self, equation: Equation, inputs: Sequence[Units], exponents: Sequence[Any] = ()) -> list[Part]:
        """Operands of an elementwise primitive as factors on the axes of its output."""
        layouts = self.layout(equation.outputs[0])
        parts = []
        for units, value, exponent in itertools.zip_longest(inputs, equation.inputs, exponents, fillvalue=1):
            names = range(len(layouts)) if len(value.shape) == len(layouts) else ()
            part = self.part(units, value, names, layouts)
            parts.append(part._replace(exponent=exponent))
        return parts

    def stretched(self, equation: Equation, inputs: Sequence[Units]) -> list[Units]:
        """Units of the operands of an elementwise primitive in the layout of its output."""
        layouts = self.layout(equation.outputs[0])
        axes = tuple(range(len(layouts)))
        return [
            part.units if part.names == axes else combine(self.system, [part], dict(enumerate(layouts)), axes)
            for part in self.aligned(equation, inputs)
        ]

    def _leaf(self, value: Value) -> Units:
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return CONSTANT
        layout = self.layout(value)
        blocks = {}
        for block in itertools.product(*(range(len(axis)) for axis in layout)):
            component = {}
            atoms = [
                (position(axis, place), atom)
                for axis, number in enumerate(block)
                for place, (atom, _) in enumerate(layout[axis][number].factors)
            ]
            for size in range(len(atoms) + 1):
                for chosen in itertools.combinations(atoms, size):
                    if len({id(atom) for _, atom in chosen}) == size:
                        component[frozenset(code for code, _ in chosen)] = self.system.unknown()
                        self.unknowns.append(Unknown(value, block, chosen))
            blocks[block] = component
        return Units(blocks)


class Unknown(NamedTuple):
    """Where an unknown degree acts: a leaf, a block of it, and the (code, atom) pairs it varies over.

    Behind a normalisation, or in front of a gain, an addition is divided by a gain (None: by one) along an axis, and
    is followed by itself: ``weight`` is (gain, axis, kind).
    """

    leaf: Value
    block: tuple[int, ...]
    chosen: tuple[tuple[int, Axis], ...]
    weight: tuple[Value | None, int, int] | None = None


def walk_units(axes: AxesWalk, rules: Mapping[str, Rule], unknown: Rule, signs: bool = False) -> UnitsWalk:
    """Solve all equations between units; the outputs have none."""
    walk = UnitsWalk(axes, signs)
    for number, equation in enumerate(axes.program.equations):
        walk.number = number
        inputs = [walk.of(value) for value in equation.inputs]
        outputs = rules.get(equation.name, unknown).units(walk, equation, inputs)
        walk.units.update(zip(equation.outputs, outputs, strict=True))
    for value in axes.program.outputs:
        vanish(walk.system, walk.of(value))
    return walk
