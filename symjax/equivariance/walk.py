"""Which axes of the leaves are spatial, read off a model's program; and every operation that looks along them."""

import math
from collections.abc import Sequence

from symjax.equivariance.operations import (
    Constant,
    Digit,
    Kind,
    Lost,
    Segments,
    Step,
    Window,
    resampled,
    steps_of,
    where,
)
from symjax.tracing.axes import Axis
from symjax.tracing.program import Equation, Program, Value
from symjax.tracing.rules import RULES, UNKNOWN
from symjax.tracing.rules_elementwise import ELEMENTWISE
from symjax.tracing.walk import AxesWalk, walk_axes

__all__ = ["SpatialWalk"]

_MOVES = {"reshape", "transpose", "broadcast_in_dim", "squeeze", "dot_general", "pad", "slice", "rev"}
_FREE = _MOVES | {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"} | {*ELEMENTWISE}


class SpatialWalk:
    """Spatial kinds of the terms of a program's axes (:mod:`symjax.tracing.axes`)."""

    def __init__(self, program: Program, axes: dict[str, int]) -> None:
        self.program = program
        self.terms: AxesWalk = walk_axes(program, RULES, UNKNOWN)
        self.kinds: dict[Axis, tuple[Kind, tuple[Step, ...]]] = {}
        self.windows: list[Window] = []
        self.constants: list[Constant] = []
        self.lost: list[Lost] = []
        for value in program.inputs:
            for kind, axis in axes.items():
                self.mark(self.terms.axes[value][axis], kind, ())
        # what a leaf meets first is known only when all of its readers have been seen
        while True:
            before = len(self.kinds)
            self.windows, self.constants, self.lost = [], [], []
            for equation in program.equations:
                self.visit(equation)
            if len(self.kinds) == before:
                break

    def mark(self, axis: Axis, kind: Kind, steps: tuple[Step, ...]) -> None:
        """Note that an axis as a whole runs along rows or columns: its reversal is that of each factor."""
        root = axis.find()
        if root.size > 1 and root not in self.kinds:
            self.kinds[root] = (kind, steps)
            if root.kind == "prod":
                for child in root.children:
                    self.mark(child, kind, steps)

    def kind(self, axis: Axis) -> tuple[Kind, tuple[Step, ...]]:
        """The kind of an axis as a whole, and the steps from the input to it."""
        root = axis.find()
        if root not in self.kinds and root.kind == "prod":
            inner = {self.kind(child)[0] for child in root.children}
            if len(inner) == 1 and "" not in inner:
                return self.kind(root.children[0])
        return self.kinds.get(root, ("", ()))

    def digits(self, axis: Axis) -> tuple[Digit, ...] | None:
        """Factors of an axis; None for a sum with spatial parts, which is no product."""
        root = axis.find()
        if root.size == 1:
            return ()
        if (kind := self.kind(root)[0]) != "" and root.kind != "prod":
            return (Digit(kind, root.size),)
        if root.kind == "prod":
            parts = [self.digits(child) for child in root.children]
            return None if None in parts else _joined([digit for part in parts for digit in part])
        if root.kind == "sum" and any(self.is_spatial(child) for child in root.children):
            return None
        return (Digit("", root.size),)

    def is_spatial(self, axis: Axis) -> bool:
        """Whether rows or columns occur anywhere in an axis."""
        root = axis.find()
        return self.kinds.get(root, ("",))[0] != "" or any(map(self.is_spatial, root.children))

    def segments(self, axis: Axis) -> Segments | None:
        """An axis as segments of digits; None where spatial parts stand inside a product of sums."""
        root = axis.find()
        if root.kind == "sum" and self.kind(root)[0] == "":
            parts = [self.segments(child) for child in root.children]
            return None if None in parts else tuple(segment for part in parts for segment in part)
        digits = self.digits(root)
        return None if digits is None else (digits,)

    def columns(self, value: Value) -> tuple[Segments, ...] | None:
        """The segments of every axis of a value."""
        columns = [self.segments(axis) for axis in self.terms.axes[value]]
        return None if None in columns else tuple(columns)

    def visit(self, equation: Equation) -> None:
        """Pass kinds through one equation."""
        steps = steps_of(equation)
        if steps is not None:
            self.look(equation, steps)
        elif equation.name == "concatenate":
            self.free(equation, skip=equation.params["dimension"])
        elif equation.name not in _FREE:
            self.foreign(equation)
        elif equation.name == "dot_general":
            self.resample(equation)
        elif equation.name == "rev":
            self.reverse(equation)
        elif equation.name == "reshape" and self.count(equation.inputs[0]) != self.count(equation.outputs[0]):
            self.lose(equation)
        if steps is None or equation.inputs[-1].constant is not None:
            self.compare(equation)

    def count(self, value: Value) -> int:
        """How many spatial entries an array has."""
        axes = self.terms.axes.get(value, ())
        columns = [self.segments(axis) for axis in axes]
        sizes = [d.size for column in columns for segment in column or () for d in segment if d.kind]
        return math.prod(sizes)

    def look(self, equation: Equation, steps: dict[int, tuple[int | None, int, Step]]) -> None:
        """A window: what it reads, what it writes and the kernel's axis have one kind."""
        (value, *others), out, along = equation.inputs, equation.outputs[0], {}
        axes = self.terms.axes
        for place, (kernel, written, step) in steps.items():
            kind, before = self.kind(axes[value][place]) if value in axes else ("", ())
            if not kind:
                lone = value.shape[place] == 1 and equation.name not in ("pad", "slice")
                opened = equation.outputs[0].shape[written] != 1 or not step.commutes(1)
                # an axis of one pixel has no kind, and what a window makes of it would have
                if value in axes and (self.cuts(equation, axes[value][place]) or (lone and opened)):
                    self.lose(equation)
                continue
            self.mark(axes[out][written], kind, (*before, step))
            if kernel is not None and others[0] in axes:
                self.mark(axes[others[0]][kernel], kind, ())
            along[kind] = (value.shape[place], step, before)
        if along:
            self.windows.append(Window(equation.name, where(equation), along))

    def cuts(self, equation: Equation, axis: Axis) -> bool:
        """Whether a window along an axis that is not spatial as a whole reaches into rows or columns inside it."""
        if equation.name != "slice":
            return self.is_spatial(axis)
        root = axis.find()
        cut = root.kind == "sum" and self.kind(root)[0] != ""
        return cut or any(self.cuts(equation, child) for child in root.children)

    def resample(self, equation: Equation) -> None:
        """A known matrix along rows or columns makes others, as a resizing does: whether symmetric, is tried."""
        for place, axis in enumerate(resampled(equation)):
            kind, steps = ("", ())
            if axis is not None:
                (summed, _), other = equation.params["dimension_numbers"], equation.inputs[1 - place]
                kind, steps = self.kind(self.terms.axes[other][summed[1 - place][0]])
            if kind:
                out = self.terms.axes[equation.outputs[0]]
                self.mark(out[0 if place == 0 else -1], kind, steps)

    def reverse(self, equation: Equation) -> None:
        """A reversal keeps the kind; along one axis alone it does not commute with a turn."""
        (value,), (out,), along = equation.inputs, equation.outputs, {}
        for place in equation.params["dimensions"] if value in self.terms.axes else ():
            kind, steps = self.kind(self.terms.axes[value][place])
            if kind:
                self.mark(self.terms.axes[out][place], kind, steps)
                along[kind] = (value.shape[place], Step(1, 1, 0, 0), steps)
            elif self.is_spatial(self.terms.axes[value][place]):
                self.lose(equation)
        if along:
            self.windows.append(Window(equation.name, where(equation), along))

    def free(self, equation: Equation, skip: int) -> None:
        """A concatenation is followed along all axes but its own, where rows and columns must stay whole."""
        known = [value for value in equation.inputs if value in self.terms.axes]
        if any(self.kind(self.terms.axes[value][skip])[0] for value in known):
            self.lose(equation)

    def foreign(self, equation: Equation) -> None:
        """Any other primitive may do what it wants along axes that are not spatial, and pass those it keeps."""
        axes = self.terms.axes
        kept = {axis.find() for out in equation.outputs for axis in axes.get(out, ())}
        for value in equation.inputs:
            if any(self.is_spatial(axis) and axis.find() not in kept for axis in axes.get(value, ())):
                self.lose(equation)
                return

    def compare(self, equation: Equation) -> None:
        """Known operands that vary along rows or columns are kept, to be tried."""
        for place, value in enumerate(equation.inputs):
            if value.constant is None or value.constant.ndim == 0 or value.constant.size == 1:
                continue
            columns = self.meeting(equation, place)
            if columns is None or not any(d.kind for column in columns for segment in column for d in segment):
                continue
            self.constants.append(Constant(equation.name, where(equation), value.constant, columns))

    def meeting(self, equation: Equation, place: int) -> tuple[Segments, ...] | None:
        """Kinds of a known operand's axes, from what it meets."""
        value, axes = equation.inputs[place], self.terms.axes
        whole: list[Segments | None] = [((Digit("", size),),) for size in value.shape]
        if equation.name in ELEMENTWISE and len(value.shape) == len(equation.outputs[0].shape):
            for axis, other in enumerate(axes[equation.outputs[0]]):
                if value.shape[axis] == other.size:
                    whole[axis] = self.segments(other)
        elif equation.name == "concatenate":
            for axis, other in enumerate(axes[equation.outputs[0]]):
                if axis != equation.params["dimension"]:
                    whole[axis] = self.segments(other)
        elif equation.name == "dot_general":
            summed, batch = equation.params["dimension_numbers"]
            other = equation.inputs[1 - place]
            for pair in (summed, batch):
                for mine, its in zip(pair[place], pair[1 - place], strict=True):
                    whole[mine] = self.segments(axes[other][its])
            free = resampled(equation)[place]
            if free is not None and (kind := self.kind(axes[other][summed[1 - place][0]])[0]):
                whole[free] = ((Digit(kind, value.shape[free]),),)
        elif equation.name == "conv_general_dilated" and place == 1:
            for read, (kernel, _, _) in steps_of(equation).items():
                kind = self.kind(axes[equation.inputs[0]][read])[0]
                whole[kernel] = ((Digit(kind, value.shape[kernel]),),)
        return None if None in whole else tuple(whole)

    def lose(self, equation: Equation) -> None:
        """Note an operation that was not followed."""
        self.lost.append(Lost(equation.name, where(equation)))


def _joined(digits: Sequence[Digit]) -> tuple[Digit, ...]:
    """Neighbours that are not spatial are one digit."""
    result: list[Digit] = []
    for digit in digits:
        if result and not digit.kind and not result[-1].kind:
            result[-1] = Digit("", result[-1].size * digit.size)
        else:
            result.append(digit)
    return tuple(result)
