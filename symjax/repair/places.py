"""Where a network is corrected: tensors of hidden units, and the leaves that shift and scale them."""

from collections.abc import Iterable
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np

from symjax.matching.sites import Graph, reads
from symjax.tracing import Symmetries
from symjax.tracing.activations import Hidden, contracted
from symjax.tracing.describe import Path
from symjax.tracing.program import Equation, Value

__all__ = ["Finder", "Leaf", "Normalisation", "Place", "Places", "streams", "writers"]

Places = Literal["writers", "streams"]
Options = list[frozenset["Leaf"]]

_LINEAR = frozenset(
    (
        *("reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "convert_element_type", "copy", "rev"),
        *("slice", "neg", "reduce_sum", "cumsum", "pad"),
    )
)
_ELEMENTWISE = _LINEAR | {"add", "add_any", "sub", "mul", "div", "rsqrt", "sqrt", "pow", "integer_pow", "concatenate"}
_PRODUCTS = frozenset(("mul", "div", "dot_general", "conv_general_dilated"))
_MOST = 8  # ways to scale a tensor that are looked at


class Leaf(NamedTuple):
    """A leaf and the axis along which the units run."""

    path: Path
    axis: int


class Normalisation(NamedTuple):
    """The running statistics of a tensor ``gain (x - mean) / sqrt(var + epsilon) + bias``."""

    mean: Path
    var: Path
    epsilon: float


class Place(NamedTuple):
    """A tensor of hidden units that can be corrected.

    Attributes:
      name: path of its bias, or the class and the number of the read.
      units: the class.
      segments: where the units run in it: once, or several times along one axis (the windows of a pool side by side).
      bias: the leaf that is added last; None for a stream, which no leaf writes alone.
      gains: leaves that scale the rest of the tensor together; a vector behind a normalisation, else a kernel.
      normalisation: its running statistics, None without.
    """

    name: str
    units: str
    segments: tuple[Hidden, ...]
    bias: Path | None
    gains: tuple[Leaf, ...] = ()
    normalisation: Normalisation | None = None

    @property
    def value(self) -> Value:
        """The tensor."""
        return self.segments[0].value

    @property
    def size(self) -> int:
        """Number of units."""
        first = self.segments[0]
        return first.span.digits[first.digit].size


def streams(traced: Symmetries) -> tuple[Place, ...]:
    """Outputs of the blocks of residual networks: every tensor in which a class that is read twice or more is read.

    Source: Jordan et al. 2023 and Bökman & Kahl 2023 (ResNet50 is corrected at the output of each block).

    Args:
      traced: from :func:`symjax.tracing.symmetries`.

    Returns:
      The places, in the order of the program.
    """
    found = []
    for name, each in reads(traced, [name for name, batch in traced.permutations.items() if not batch]).items():
        if len({read.value for read in each}) > 1:
            found += [Place(f"{name}, {n}", name, one.places, None) for n, one in enumerate(each, 1)]
    return _ordered(traced, found)


def writers(traced: Symmetries) -> tuple[Place, ...]:
    """Tensors before the nonlinearity: where a bias is added to hidden units, with the leaves that scale the rest.

    Behind a normalisation its gain scales them, else the kernel does; a bias before one is not among them.

    Left out are tensors whose units no leaf scales alone (weights that are tied or read elsewhere, a bias added behind
    a residual sum) and units that share an axis with others (several to a group of a group normalisation).

    Source: Jordan et al. 2023 (the outputs of convolutions before the ReLU); found in the program here.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.

    Returns:
      The places, in the order of the program; empty where there are none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"] + v["bias"][None], 0.0) @ v["out"]
      >>> shapes = {"in": (2, 3), "bias": (3,), "out": (3, 1)}
      >>> variables = {name: jax.ShapeDtypeStruct(shape, float) for name, shape in shapes.items()}
      >>> [(place.name, place.gains) for place in writers(symmetries(apply, variables, jnp.ones((1, 2))))]
      [('bias', (Leaf(path=('in',), axis=1),))]
    """
    finder = Finder(traced)
    places = [finder.place(equation) for equation in traced.model.program.equations if equation.name == "add"]
    return tuple(place for place in places if place is not None and place.bias not in finder.absorbed)


def _ordered(traced: Symmetries, places: Iterable[Place]) -> tuple[Place, ...]:
    order = {}
    for number, equation in enumerate(traced.model.program.equations):
        order.update(dict.fromkeys(equation.outputs, number))
    return tuple(sorted(places, key=lambda place: order.get(place.value, -1)))


class Finder:
    """Follows tensors back to their leaves."""

    def __init__(self, traced: Symmetries) -> None:
        self.graph = Graph(traced.model)
        self.axes: dict[Path, dict[str, list[int]]] = {}
        self.vectors: dict[Path, str] = {}
        for layout in traced.model.layouts:
            axes = self.axes.setdefault(layout.path, {})
            for axis, column in enumerate(layout.columns):
                whole = len(column) == 1 and len(column[0].digits) == 1 and layout.lead is None
                for span in column:
                    for digit in span.digits:
                        if whole and digit.size == layout.shape[axis]:
                            axes.setdefault(digit.name, []).append(axis)
                            if len(layout.shape) == 1 and digit.name in traced.permutations:
                                self.vectors[layout.path] = digit.name
        self.absorbed: set[Path] = set()  # biases before a normalisation, which takes them off again

    def private(self, path: Path, value: Value) -> bool:
        """Whether a leaf reaches the outputs through one value alone, and is multiplied by nothing that depends on it.

        A layer that is used twice would be scaled in front of the value too.
        """
        program, reached = self.graph.model.program, self.reached(path, value)
        twice = (
            equation.name in _PRODUCTS and sum(operand in reached for operand in equation.inputs) > 1
            for equation in program.equations
        )
        return reached.isdisjoint(program.outputs) and not any(twice)

    def reached(self, path: Path, value: Value) -> set[Value]:
        """All that depends on a leaf otherwise than through one value."""
        reached = {leaf for leaf, each in self.graph.leaf.items() if each == path}
        for equation in self.graph.model.program.equations:
            if any(operand in reached for operand in equation.inputs):
                reached.update(out for out in equation.outputs if out is not value)
        return reached

    def place(self, equation: Equation) -> Place | None:
        """The place that an addition makes: hidden units with a bias of their own."""
        (value,) = equation.outputs
        if value not in self.graph.data:
            return None
        for operand in equation.inputs:
            for bias in self.added(operand) if operand not in self.graph.data else ():
                name = self.vectors.get(bias)
                where = [] if name is None else self.graph.places(value, name)
                together = len({each.axis for each in where}) == 1
                once = self.graph.data.isdisjoint(self.reached(bias, value).intersection(equation.inputs))
                alone = together and once and self.private(bias, value)
                gains = self.gains(value, name, bias) if alone else None
                if gains is not None:
                    return Place(
                        "/".join(map(str, bias)),
                        name,
                        tuple(where),
                        bias,
                        gains,
                        self.normalisation(value, name, bias, gains),
                    )
        return None

    def added(self, value: Value) -> list[Path]:
        """Leaves of which a value is a sum, each entering once as it is."""
        if value in self.graph.leaf:
            return [self.graph.leaf[value]]
        equation = self.graph.maker.get(value)
        if equation is None:
            return []
        if equation.name in ("add", "add_any", "concatenate"):
            # repeated by a concatenation of copies, it is one leaf still
            return list(dict.fromkeys(path for operand in equation.inputs for path in self.added(operand)))
        return self.added(equation.inputs[0]) if equation.name in _LINEAR - {"neg", "reduce_sum", "cumsum"} else []

    def gains(self, value: Value, name: str, bias: Path) -> tuple[Leaf, ...] | None:
        """The smallest set of leaves of which the value without its bias is a multiple."""
        options = [option for option in self.options(value, name, bias, {}) if option]
        options = [option for option in options if all(self.private(leaf.path, value) for leaf in option)]
        if not options:
            return None
        best = min(options, key=lambda option: (sum(len(self.shape(leaf.path)) for leaf in option), len(option)))
        return tuple(sorted(best, key=str))

    def shape(self, path: Path) -> tuple[int, ...]:
        return next(value.shape for value, each in self.graph.leaf.items() if each == path)

    def options(self, value: Value, name: str, bias: Path, memo: dict[Value, Options]) -> Options:
        """Sets of leaves in which a value is homogeneous of degree one together, the bias counting as zero."""
        if value not in memo:
            memo[value] = []  # a program has no cycles; this stops nothing but repetition
            memo[value] = self._options(value, name, bias, memo)[:_MOST]
        return memo[value]

    def _options(self, value: Value, name: str, bias: Path, memo: dict[Value, Options]) -> Options:
        if value in self.graph.leaf:
            return self.scaled(value, name, bias, ())
        equation = self.graph.maker.get(value)
        if equation is None:
            zero = value.constant is not None and not np.any(value.constant)
            return [frozenset()] if zero else []
        if equation.name in _LINEAR:
            return self.options(equation.inputs[0], name, bias, memo)
        if equation.name in ("add", "add_any", "sub", "concatenate"):
            each = [self.options(operand, name, bias, memo) for operand in equation.inputs]
            joined = [frozenset().union(*choice) for choice in product(*each)]
            return sorted(set(joined), key=lambda option: (len(option), str(sorted(option, key=str))))
        if equation.name in ("mul", "div"):
            operands = equation.inputs if equation.name == "mul" else equation.inputs[:1]
            return [one for operand in operands for one in self.options(operand, name, bias, memo) if one]
        found: Options = []
        for operand, axis in contracted(equation) + _kernel_axis(equation):
            if operand in self.graph.leaf:
                found += self.scaled(operand, name, bias, (axis,))
            elif any(place.axis != axis for place in self.graph.places(operand, name)):
                found += self.options(operand, name, bias, memo)
        return [one for one in found if one]

    def scaled(self, value: Value, name: str, bias: Path, summed: tuple[int, ...]) -> Options:
        path = self.graph.leaf[value]
        if path == bias:
            return [frozenset()]
        axes = [axis for axis in self.axes.get(path, {}).get(name, ()) if axis not in summed]
        return [frozenset((Leaf(path, axes[0]),))] if len(axes) == 1 else []

    def normalisation(self, value: Value, name: str, bias: Path, gains: tuple[Leaf, ...]) -> Normalisation | None:
        """Running statistics among the vectors that make a tensor, since the last contraction."""
        roots, taken_off, met, epsilon, stack, seen = set(), set(), set(), 0.0, [(value, False, False)], set()
        while stack:
            item = stack.pop()
            if item in seen:
                continue
            seen.add(item)
            current, rooted, negative = item
            if current in self.graph.leaf:
                path = self.graph.leaf[current]
                met.add(path)
                if self.vectors.get(path) == name and path != bias and path not in {leaf.path for leaf in gains}:
                    (roots if rooted else taken_off if negative else set()).add(path)
                continue
            equation = self.graph.maker.get(current)
            if equation is None or equation.name not in _ELEMENTWISE:
                continue
            if equation.name == "add" and all(operand in self.graph.data for operand in equation.inputs):
                continue  # a residual sum: what lies behind it was normalised elsewhere
            rooted |= equation.name in ("rsqrt", "sqrt", "pow") and current not in self.graph.data
            if rooted and equation.name == "add":
                epsilon = next((float(v.constant.flat[0]) for v in equation.inputs if v.constant is not None), epsilon)
            turned = (equation.name == "neg", equation.name in ("neg", "sub"))
            stack += [(operand, rooted, negative ^ turned[n > 0]) for n, operand in enumerate(equation.inputs)]
        if len(roots) != 1 or len(taken_off) != 1:
            return None
        self.absorbed |= met - {bias}
        return Normalisation(taken_off.pop(), roots.pop(), epsilon)


def _kernel_axis(equation: Equation) -> list[tuple[Value, Any]]:
    """The second operand of a convolution, with its axis of input channels."""
    if equation.name != "conv_general_dilated":
        return []
    return [(equation.inputs[1], equation.params["dimension_numbers"][1][1])]
