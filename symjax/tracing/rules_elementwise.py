"""Rules of primitives that act entry by entry."""

from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from symjax.tracing import ladder
from symjax.tracing import rules_shifts as shifts
from symjax.tracing.axes import Axis, Cause, unify
from symjax.tracing.program import Equation, Value
from symjax.tracing.units import ANY, CONSTANT, Units, combine, equate, scale, vanish
from symjax.tracing.walk import AxesWalk, Rule, UnitsWalk

__all__ = ["ELEMENTWISE"]

Degree = int | Fraction | None | Literal["forget"]
Axes = tuple[Axis, ...]

_HALF, _THIRD = Fraction(1, 2), Fraction(1, 3)
_EPSILON = 2e-3


class Unary(NamedTuple):
    """``f(c x) = c^degree f(x)`` for c > 0 and ``f(-x) = (-1)^parity f(x)``.

    None: the argument must have no units; "forget": any it has, the result has none.
    """

    degree: Degree
    parity: Degree


UNARY = {
    **dict.fromkeys(
        ("neg", "convert_element_type", "copy", "copy_p", "stop_gradient", "reduce_precision"), Unary(1, 1)
    ),
    **dict.fromkeys(("real",), Unary(1, 1)),
    "abs": Unary(1, "forget"),
    "sign": Unary("forget", 1),
    "square": Unary(2, "forget"),
    "sqrt": Unary(_HALF, None),
    "rsqrt": Unary(-_HALF, None),
    "cbrt": Unary(_THIRD, 1),
    "is_finite": Unary("forget", "forget"),
    "not": Unary("forget", "forget"),
    **dict.fromkeys(("tanh", "sin", "tan", "asin", "atan", "sinh", "asinh", "atanh", "erf", "erf_inv"), Unary(None, 1)),
    **dict.fromkeys(("cos", "cosh"), Unary(None, "forget")),
    **dict.fromkeys(("exp", "exp2", "expm1", "log", "log1p", "logistic", "acos", "acosh", "erfc"), Unary(None, None)),
    **dict.fromkeys(("floor", "ceil", "round", "lgamma", "digamma", "population_count", "clz"), Unary(None, None)),
}


def axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Every operand that is not broadcast along an axis carries the same units there."""
    shape = equation.outputs[0].shape
    cause = Cause(f"conflict: {equation.name}", equation)
    result = []
    for place, size in enumerate(shape):
        same = [operand[place] for operand in inputs if len(operand) == len(shape) and operand[place].size == size]
        if not same:
            same = [Axis(size)]
        for other in same[1:]:
            unify(same[0], other, cause)
        result.append(same[0])
    return [tuple(result)] * len(equation.outputs)


def unary(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """One operand: a power of its units, or none allowed, or forgotten."""
    rule = UNARY[equation.name]
    return [power(walk, inputs[0], rule.parity if walk.signs else rule.degree)]


def power(walk: UnitsWalk, units: Units, degree: Degree) -> Units:
    """Units of a homogeneous function."""
    if degree == "forget":
        return CONSTANT
    if degree is None:
        vanish(walk.system, units)
        return CONSTANT
    return scale(walk.system, units, degree)


def multiply(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Units add in a product and subtract in a quotient."""
    return [_product(walk, equation, inputs, (1, -1 if equation.name == "div" else 1))]


def _product(walk: UnitsWalk, equation: Equation, inputs: list[Units], exponents: tuple[int, ...]) -> Units:
    layouts = walk.layout(equation.outputs[0])
    parts = walk.aligned(equation, inputs, exponents)
    return combine(walk.system, parts, dict(enumerate(layouts)), tuple(range(len(layouts))))


def add(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Summands have the same units; an epsilon under a root or a quotient any, which is noted."""
    inputs = list(inputs)
    if equation.name in ("add", "max") and not walk.signs:
        for place in (0, 1):
            value, other = equation.inputs[place], inputs[1 - place]
            if _is_epsilon(value) and other not in (ANY, CONSTANT) and _rooted(walk, equation.outputs[0]):
                walk.epsilons.append(((walk.number, place), other))
                inputs[place] = ANY
    return [_same(walk, equation, inputs)]


def _same(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> Units:
    layout = walk.layout(equation.outputs[0])
    first, *others = walk.stretched(equation, inputs)
    for value, units in zip(equation.inputs, inputs, strict=True):
        if value.constant is not None and units is ANY and walk.any(value) == "mask":
            walk.masks += [other for other in inputs if other is not ANY]
    for other in others:
        first = equate(walk.system, first, other, layout)
    return first


def extreme(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """The larger of two: units pass, signs do not."""
    if walk.signs:
        return ordered(walk, equation, inputs)
    return add(walk, equation, inputs)


def ordered(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """No units at all."""
    for units in inputs:
        vanish(walk.system, units)
    return [CONSTANT] * len(equation.outputs)


def compare(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Comparable operands have the same units, and the answer none."""
    extreme(walk, equation, inputs)
    return [CONSTANT]


def select(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """The cases have the same units, the predicate none."""
    vanish(walk.system, inputs[0])
    return [_same(walk, equation._replace(inputs=equation.inputs[1:]), inputs[1:])]


def clamp(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Bounds and operand have the same units."""
    if walk.signs:
        return ordered(walk, equation, inputs)
    return [_same(walk, equation, inputs)]


def integer_pow(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """``x^n``."""
    exponent = equation.params["y"]
    return [power(walk, inputs[0], exponent % 2 or "forget" if walk.signs else exponent)]


def general_pow(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """``x^y`` with one known exponent; no units otherwise."""
    exponent = equation.inputs[1].constant
    if exponent is None or np.ptp(exponent) or walk.signs:
        return ordered(walk, equation, inputs)
    return [power(walk, inputs[0], Fraction(float(exponent.flat[0])).limit_denominator(1000))]


def _is_epsilon(value: Value) -> bool:
    constant = value.constant
    return constant is not None and constant.size > 0 and bool(np.all((constant > 0) & (constant <= _EPSILON)))


_BEFORE_ROOT = {
    *("reshape", "broadcast_in_dim", "squeeze", "expand_dims", "transpose", "convert_element_type", "copy"),
    *("stop_gradient", "mul", "max", "slice"),
}


def _rooted(walk: UnitsWalk, value: Value) -> bool:
    """Whether a root or a quotient stands behind a sum: only there is a small summand an epsilon."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        for reader in walk.readers(value):
            if reader.name in ("sqrt", "rsqrt") or (reader.name == "div" and reader.inputs[1] is value):
                return True
            if reader.name in ("pow", "integer_pow") and reader.inputs[0] is value:
                return True
            if reader.name in _BEFORE_ROOT and reader.outputs[0] not in seen:
                seen.add(reader.outputs[0])
                pending.append(reader.outputs[0])
    return False


_SAME = ("convert_element_type", "copy", "copy_p", "stop_gradient")

ELEMENTWISE = {
    **{name: Rule(axes, unary) for name in UNARY},
    **{name: Rule(axes, unary, ladder.moves, shifts.passes) for name in _SAME},
    "neg": Rule(axes, unary, ladder.moves, shifts.negate),
    "square": Rule(axes, unary, ladder.squared, shifts.square),
    "integer_pow": Rule(axes, integer_pow, ladder.squared, shifts.square),
    "pow": Rule(axes, general_pow),
    "mul": Rule(axes, multiply, ladder.multiply, shifts.multiply),
    "div": Rule(axes, multiply, ladder.divide, shifts.divide),
    **{name: Rule(axes, add, ladder.sums, shifts.add) for name in ("add", "sub", "add_any")},
    **{name: Rule(axes, extreme, None, shifts.larger) for name in ("max", "min")},
    **{name: Rule(axes, compare) for name in ("gt", "ge", "lt", "le", "eq", "ne")},
    **{name: Rule(axes, ordered) for name in ("and", "or", "xor", "rem", "atan2", "nextafter")},
    "select_n": Rule(axes, select, ladder.select, shifts.select),
    "clamp": Rule(axes, clamp),
}
