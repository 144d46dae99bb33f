"""Where a class of units is read: the hidden tensors whose activations are compared."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.tracing import Symmetries
from symjax.tracing.action import leaf_paths, positions
from symjax.tracing.activations import Hidden, contracted
from symjax.tracing.describe import Path
from symjax.tracing.found import Model
from symjax.tracing.program import Equation, Value

__all__ = ["Graph", "Read", "Sites", "reads", "require_followed", "require_variables", "take_units"]

Sites = Literal["all", "last"]
Kind = tuple[tuple[int, ...], Any]  # shape and dtype

# what only moves entries, or averages them: units are compared before it
_MOVES = frozenset(
    (
        *("reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "convert_element_type", "copy", "rev"),
        *("pad", "slice", "concatenate"),
    )
)


class Read(NamedTuple):
    """One place where a class is read.

    Attributes:
      value: of the program.
      places: of the class's batch indices and of its units, in this value.
      reader: path of the leaf that the contraction multiplies it by; None where that is no leaf.
    """

    value: Value
    places: tuple[Hidden, ...]
    reader: Path | None


class Graph:
    """The program's equations by what they make, and which values depend on the input."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.maker: dict[Value, Equation] = {}
        self.data: set[Value] = set(model.program.inputs)
        for equation in model.program.equations:
            self.maker.update(dict.fromkeys(equation.outputs, equation))
            if any(value in self.data for value in equation.inputs):
                self.data.update(equation.outputs)
        origins = zip(model.program.leaves, model.program.origins, strict=True)
        self.leaf: dict[Value, Path] = {value: model.paths[number] for value, (number, _) in origins}

    def places(self, value: Value, name: str) -> list[Hidden]:
        """Where a class runs in a value."""
        return [place for place in self.model.units(value) if place.span.digits[place.digit].name == name]

    def source(self, value: Value) -> Value:
        """The value from which this one is made by moving and averaging entries alone."""
        equation = self.maker.get(value)
        if equation is None or value not in self.data:
            return value
        moving = equation.name in _MOVES or equation.name == "reduce_sum"
        scaling = equation.name in ("mul", "div") and any(v.constant is not None for v in equation.inputs)
        if not (moving or scaling):
            return value
        sources = {self.source(operand) for operand in equation.inputs if operand in self.data}
        return sources.pop() if len(sources) == 1 else value

    def leaf_behind(self, value: Value) -> Path | None:
        """The leaf that a value holds, its entries moved at most."""
        while value not in self.leaf:
            equation = self.maker.get(value)
            if equation is None or equation.name not in _MOVES or len(equation.inputs) != 1:
                return None
            value = equation.inputs[0]
        return self.leaf[value]


def reads(traced: Symmetries, names: Iterable[str], sites: Sites = "all") -> dict[str, tuple[Read, ...]]:
    """All values in which contractions read each class, each once, in the order of the program.

    Taken before padding, patches, and averages over positions: what the last nonlinearity or normalisation made.
    Behind a maximum pool units are seen pooled.

    Source: this library's bookkeeping.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      names: of classes.
      sites: all of them, or the last alone.

    Returns:
      Class name -> its places; empty where nothing that depends on the input is contracted over the class.
    """
    graph, found = Graph(traced.model), {name: {} for name in names}
    for equation in traced.model.program.equations:
        for value, axis in contracted(equation):
            for place in traced.model.units(value) if value in graph.data else ():
                name = place.span.digits[place.digit].name
                if place.axis == axis and name in found:
                    others = [operand for operand in equation.inputs if operand is not value]
                    reader = graph.leaf_behind(others[0]) if others else None
                    for at in (graph.source(value), value):
                        batch = [other for other, _ in traced.permutations[name]]
                        where = [graph.places(at, one) for one in (*batch, name)]
                        if at is value and len(where[-1]) > 1:
                            where[-1] = [place]
                        if all(len(one) == 1 for one in where):
                            read = Read(at, tuple(one[0] for one in where), reader)
                            found[name].setdefault(read[:2], read)
                            break
    chosen = slice(None) if sites == "all" else slice(-1, None)
    return {name: tuple(each.values())[chosen] for name, each in found.items()}


def take_units(array: jax.Array, places: Sequence[Hidden]) -> jax.Array:
    """Samples of units: array (samples, units), units running over the places' indices, the last one fastest."""
    spans, shape, start = {place.axis: place.span for place in places}, [], {}
    for axis, length in enumerate(array.shape):
        start[axis] = len(shape)
        if axis not in spans:
            shape.append(length)
            continue
        rows = positions(spans[axis])
        if not np.array_equal(rows.ravel(), np.arange(length)):
            array = jnp.take(array, rows.ravel(), axis=axis)
        shape.extend(rows.shape)
    ends = [start[place.axis] + place.digit for place in places]
    count = prod(place.span.digits[place.digit].size for place in places)
    return jnp.moveaxis(array.reshape(shape), ends, range(-len(ends), 0)).reshape(-1, count)


def require_variables(traced: Symmetries, **trees: Any) -> None:
    """Refuse variables whose leaves, shapes or dtypes are not those that were traced, and name the first differences.

    Source: this library's bookkeeping.

    Raises:
      ValueError: a leaf too much, too few, or of another shape or dtype.
    """
    program, paths = traced.model.program, traced.model.paths
    kinds = {number: value.dtype for value, (number, _) in zip(program.leaves, program.origins, strict=True)}
    wanted = {path: (program.shapes[number], kinds.get(number)) for number, path in enumerate(paths)}
    for name, tree in trees.items():
        shapes = {path: _kind(leaf) for path, leaf in leaf_paths(tree)[0].items()}
        differences = [
            f"{_spelt(path)} is {_difference(shapes.get(path), wanted.get(path))}"
            for path in dict.fromkeys((*wanted, *shapes))
            if not _alike(shapes.get(path), wanted.get(path))
        ]
        if differences:
            more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
            raise ValueError(f"{name} is not like the variables traced: {', '.join(differences[:3])}{more}")


def _spelt(path: Path) -> str:
    return "/".join(map(str, path)) or "the leaf"


def _kind(leaf: Any) -> Kind:
    """Shape and dtype that a leaf has in a program."""
    shape = jnp.shape(leaf)
    try:
        return shape, jax.dtypes.canonicalize_dtype(jnp.result_type(leaf))
    except TypeError:
        raise ValueError(f"a leaf of the variables is {leaf!r}, but must be an array") from None


def _alike(found: Kind | None, wanted: Kind | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return found[0] == wanted[0] and (wanted[1] is None or found[1] == wanted[1])


def _difference(found: Kind | None, wanted: Kind | None) -> str:
    which = int(found is not None and wanted is not None and found[0] == wanted[0])
    return " instead of ".join("missing" if one is None else str(one[which]) for one in (found, wanted))


def require_followed(traced: Symmetries) -> None:
    """Refuse a network of which tracing could not follow a part, by the primitive and the leaves it froze.

    Source: this library's bookkeeping.

    Raises:
      ValueError: something was refused.
    """
    for refusal in traced.refused:
        leaves = ", ".join(map(_spelt, refusal.leaves[:3])) or "no leaf"
        raise ValueError(
            f"{refusal.primitive} ({refusal.source or 'unknown line'}) could not be followed and keeps the units of "
            f"{leaves} from being matched; write it by other operations, or name the classes to match"
        )
