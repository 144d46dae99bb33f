"""Rules of primitives that sum over axes or look along them: products, convolutions, reductions, gathers."""

from collections.abc import Sequence

from symjax.tracing import ladder
from symjax.tracing import rules_shifts as shifts
from symjax.tracing import rules_shifts_contract as contractions
from symjax.tracing.axes import Axis, Cause, freeze, monomials, product, unify
from symjax.tracing.program import Equation
from symjax.tracing.units import ANY, CONSTANT, Part, Units, combine, regroup, scale, vanish
from symjax.tracing.walk import AxesWalk, Rule, UnitsWalk

__all__ = ["CONTRACT", "UNKNOWN"]

Axes = tuple[Axis, ...]


def dot_names(equation: Equation) -> tuple[list, list, list, list]:
    """Names of the axes of both factors, of the result and of the sum."""
    (lhs_sum, rhs_sum), (lhs_batch, rhs_batch) = equation.params["dimension_numbers"]
    lhs, rhs = ([(side, place) for place in range(len(v.shape))] for side, v in zip("lr", equation.inputs, strict=True))
    for kind, lefts, rights in (("batch", lhs_batch, rhs_batch), ("sum", lhs_sum, rhs_sum)):
        for number, (a, b) in enumerate(zip(lefts, rights, strict=True)):
            lhs[a] = rhs[b] = (kind, number)
    batch = [("batch", number) for number in range(len(lhs_batch))]
    out = batch + [name for name in lhs if name[0] == "l"] + [name for name in rhs if name[0] == "r"]
    return lhs, rhs, out, [("sum", number) for number in range(len(lhs_sum))]


def dot_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Axes that meet are the same."""
    lhs, rhs, out, _ = dot_names(equation)
    known = dict(zip(lhs, inputs[0], strict=True))
    for name, axis in zip(rhs, inputs[1], strict=True):
        if name in known:
            unify(known[name], axis, Cause("conflict: dot_general", equation))
        else:
            known[name] = axis
    walk.notes[id(equation)] = known
    return [tuple(known[name] for name in out)]


def dot_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Units add; along what is summed nothing varies."""
    lhs, rhs, out, summed = dot_names(equation)
    layouts = {name: monomials(axis) for name, axis in walk.axes.notes[id(equation)].items()}
    parts = [
        walk.part(units, value, names, layouts)
        for units, value, names in zip(inputs, equation.inputs, (lhs, rhs), strict=True)
    ]
    return [combine(walk.system, parts, layouts, out, summed)]


def conv_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """A product over (group, input channel); windows freeze space."""
    (lhs, rhs), (out,), params = inputs, equation.outputs, equation.params
    cause = Cause("conflict: conv_general_dilated", equation)
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    for axis in [lhs[place] for place in lhs_spec[2:]] + [rhs[place] for place in rhs_spec[2:]]:
        freeze(axis, Cause("window", equation))
    groups = Axis(params["feature_group_count"])
    if params["batch_group_count"] != 1:
        return UNKNOWN.axes(walk, equation, inputs)
    unify(lhs[lhs_spec[1]], product((groups, rhs[rhs_spec[1]])), cause)
    each = Axis(rhs[rhs_spec[0]].size // groups.size)
    unify(rhs[rhs_spec[0]], product((groups, each)), cause)
    walk.notes[id(equation)] = (groups, rhs[rhs_spec[1]], each)
    result = [_frozen(size, Cause("window", equation)) for size in out.shape]
    result[out_spec[0]], result[out_spec[1]] = lhs[lhs_spec[0]], rhs[rhs_spec[0]]
    return [tuple(result)]


def conv_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Split the channels into groups, collapse the window, multiply, and join the groups again."""
    if equation.params["batch_group_count"] != 1:
        return UNKNOWN.units(walk, equation, inputs)
    (lhs, rhs), (out,), specs = equation.inputs, equation.outputs, equation.params["dimension_numbers"]
    lhs_spec, rhs_spec, out_spec = specs
    groups, inner, each = (monomials(axis) for axis in walk.axes.notes[id(equation)])
    sizes = [axis.size for axis in walk.axes.notes[id(equation)]]
    system = walk.system
    left = _grouped(walk, inputs[0], lhs, lhs_spec[1], (groups, inner), sizes[:2])
    right = _grouped(walk, inputs[1], rhs, rhs_spec[0], (groups, each), [sizes[0], sizes[2]])
    names_left = [("space", place) for place in range(len(lhs.shape))]
    names_left[lhs_spec[0]], names_left[lhs_spec[1]] = "batch", "feature"
    names_right = [("window", place) for place in range(len(rhs.shape))]
    names_right[rhs_spec[0]], names_right[rhs_spec[1]] = "feature", "in"
    left_layout = [] if lhs.constant is not None else walk.layout(lhs)
    layouts = {"group": groups, "in": inner, "each": each}
    layouts |= dict(zip(names_left, left_layout, strict=False))
    layouts |= dict(zip(names_right, [] if rhs.constant is not None else walk.layout(rhs), strict=False))
    space = [name for name in names_left if name[0] == "space"] if left_layout else []
    window = [name for name in names_right if name[0] == "window"] if rhs.constant is None else []
    names_left[lhs_spec[1] : lhs_spec[1] + 1] = ["group", "in"]
    names_right[rhs_spec[0] : rhs_spec[0] + 1] = ["group", "each"]
    layout = walk.layout(out)
    layouts["batch"] = layout[out_spec[0]]
    # what varies over space or the window is killed by itself, the rest is a product over (group, in)
    flat = [
        combine(system, [Part(units, tuple(names))], layouts, [n for n in names if n not in gone], gone)
        for units, names, gone in ((left, names_left, space), (right, names_right, window))
    ]
    parts = [
        Part(flat[0], tuple(n for n in names_left if n not in space)),
        Part(flat[1], tuple(n for n in names_right if n not in window)),
    ]
    joined = combine(system, parts, layouts, ["batch", "group", "each"], ["in"])
    before = (layouts["batch"], groups, each)
    channels = (layouts["batch"], layout[out_spec[1]])
    size = out.shape[out_spec[0]]
    merged = regroup(system, joined, before, (size, *sizes[::2]), channels, (size, out.shape[out_spec[1]]))
    names = dict(zip(out_spec, ["batch", "feature", *(("out", place) for place in out_spec[2:])], strict=True))
    final = {names[place]: column for place, column in enumerate(layout)}
    return [combine(system, [Part(merged, ("batch", "feature"))], final, [names[k] for k in range(len(layout))])]


def _grouped(walk: UnitsWalk, units: Units, value, axis: int, columns, sizes: Sequence[int]) -> Units:
    if units in (ANY, CONSTANT):
        return units
    layout, shape = walk.layout(value), value.shape
    after, new = (*layout[:axis], *columns, *layout[axis + 1 :]), (*shape[:axis], *sizes, *shape[axis + 1 :])
    return regroup(walk.system, units, layout, shape, after, new)


def reduce_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """The axes that are left."""
    gone = equation.params["axes"]
    kept = tuple(axis for place, axis in enumerate(inputs[0]) if place not in gone)
    return [kept] * len(equation.outputs)


def collapsed(walk: UnitsWalk, equation: Equation, units: Units) -> Units:
    """Units that do not vary along what is reduced."""
    layout, gone = walk.layout(equation.inputs[0]), equation.params["axes"]
    axes = tuple(range(len(layout)))
    kept = tuple(axis for axis in axes if axis not in gone)
    return combine(walk.system, [Part(units, axes)], dict(enumerate(layout)), kept, tuple(gone))


def reduce_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """A sum of like units."""
    return [collapsed(walk, equation, inputs[0])]


def reduce_extreme(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """The largest of like units, which have no sign."""
    if walk.signs:
        vanish(walk.system, inputs[0])
    return reduce_units(walk, equation, inputs)


def reduce_prod(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """A power of like units."""
    count = 1
    for axis in equation.params["axes"]:
        count *= equation.inputs[0].shape[axis]
    return [scale(walk.system, collapsed(walk, equation, inputs[0]), count)]


def reduce_logical(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Booleans have no units."""
    vanish(walk.system, inputs[0])
    return [CONSTANT]


def argument_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """A position is named, which freezes the axis."""
    for place in equation.params["axes"]:
        freeze(inputs[0][place], Cause(equation.name, equation))
    return reduce_axes(walk, equation, inputs)


def argument_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """The place of the largest of like units."""
    reduce_extreme(walk, equation, inputs)
    return [CONSTANT]


def _along(equation: Equation) -> list[int]:
    """Axes along which a primitive looks at neighbours or counts positions."""
    params, value = equation.params, equation.inputs[0]
    if "axis" in params:
        return [params["axis"]]
    if equation.name == "rev":
        return list(params["dimensions"])
    shape, out = value.shape, equation.outputs[0].shape
    window = params.get("window_dimensions", (1,) * len(shape))
    return [place for place in range(len(shape)) if window[place] != 1 or shape[place] != out[place]]


def along_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Windows, cumulative sums and reversals freeze the axis they run along."""
    cause, along = Cause(equation.name, equation), _along(equation)
    for place in along:
        freeze(inputs[0][place], cause)
    result = list(inputs[0])
    for place in along:
        result[place] = _frozen(equation.outputs[0].shape[place], cause)
    return [tuple(result)]


def along_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """What is combined along an axis has like units there."""
    units = inputs[0]
    if walk.signs and ("max" in equation.name or "min" in equation.name):
        vanish(walk.system, units)
    if equation.name in ("cumprod", "cumlogsumexp"):
        vanish(walk.system, units)
    if units in (ANY, CONSTANT):
        return [units]
    along, layout, after = _along(equation), walk.layout(equation.inputs[0]), walk.layout(equation.outputs[0])
    axes = tuple(range(len(layout)))
    part = Part(walk.flatten(units, layout, along), tuple(None if axis in along else axis for axis in axes))
    return [combine(walk.system, [part], dict(enumerate(after)), axes)]


def gather_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Axes taken whole pass; looked-up ones freeze; the rest are the indices' own."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    cause, operand = Cause("gather", equation), inputs[0]
    windows = _windows(equation)
    for place, axis in enumerate(operand):
        if place not in windows or sizes[place] != axis.size:
            freeze(axis, cause)
    batch = iter(inputs[1][:-1])
    result = []
    for place, size in enumerate(equation.outputs[0].shape):
        if place in numbers.offset_dims:
            source = windows[numbers.offset_dims.index(place)]
            result.append(operand[source] if sizes[source] == operand[source].size else _frozen(size, cause))
        else:
            axis = next(batch)
            result.append(axis if axis.size == size else _frozen(size, cause))
    return [tuple(result)]


def _windows(equation: Equation) -> list[int]:
    numbers = equation.params["dimension_numbers"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    return [place for place in range(len(equation.inputs[0].shape)) if place not in gone]


def gather_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """Rows are looked up by any index, so their units are alike; indices have none."""
    vanish(walk.system, inputs[1])
    value, units, sizes = equation.inputs[0], inputs[0], equation.params["slice_sizes"]
    if units in (ANY, CONSTANT):
        return [units]
    numbers, windows, layout = equation.params["dimension_numbers"], _windows(equation), walk.layout(value)
    after = walk.layout(equation.outputs[0])
    rows = [place for place in range(len(layout)) if place not in windows or sizes[place] != value.shape[place]]
    names: list = [None] * len(layout)
    for place, source in zip(numbers.offset_dims, windows, strict=True):
        if source not in rows:
            names[source] = place
    part = walk.part(walk.flatten(units, layout, rows), value, names, dict(enumerate(after)))
    return [combine(walk.system, [part], dict(enumerate(after)), tuple(range(len(after))))]


def unknown_axes(walk: AxesWalk, equation: Equation, inputs: list[Axes]) -> list[Axes]:
    """Freeze everything."""
    cause = Cause(equation.name, equation)
    for operand in inputs:
        for axis in operand:
            freeze(axis, cause)
    return [tuple(_frozen(size, cause) for size in out.shape) for out in equation.outputs]


def unknown_units(walk: UnitsWalk, equation: Equation, inputs: list[Units]) -> list[Units]:
    """No units at all."""
    for units in inputs:
        vanish(walk.system, units)
    return [CONSTANT] * len(equation.outputs)


def _frozen(size: int, cause: Cause) -> Axis:
    axis = Axis(size)
    freeze(axis, cause)
    return axis


UNKNOWN = Rule(unknown_axes, unknown_units)

CONTRACT = {
    "dot_general": Rule(dot_axes, dot_units, ladder.contract, contractions.dot),
    "conv_general_dilated": Rule(conv_axes, conv_units, ladder.convolve, contractions.conv),
    "reduce_sum": Rule(reduce_axes, reduce_units, ladder.reduce, contractions.sums),
    "reduce_prod": Rule(reduce_axes, reduce_prod),
    **{name: Rule(reduce_axes, reduce_extreme, None, shifts.extremes) for name in ("reduce_max", "reduce_min")},
    **{name: Rule(reduce_axes, reduce_logical) for name in ("reduce_and", "reduce_or", "reduce_xor")},
    **{name: Rule(argument_axes, argument_units) for name in ("argmax", "argmin")},
    **{
        name: Rule(along_axes, along_units)
        for name in (
            *("reduce_window_sum", "rev"),
            *("cumsum", "cummax", "cummin", "cumprod", "cumlogsumexp"),
        )
    },
    **{
        name: Rule(along_axes, along_units, None, shifts.extremes)
        for name in ("reduce_window_max", "reduce_window_min")
    },
    "gather": Rule(gather_axes, gather_units, ladder.gathered, contractions.gathered),
}
