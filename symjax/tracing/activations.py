"""Hidden tensors by name: what the units of a class say, from the same program that was analysed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax.tracing.action import positions
from symjax.tracing.axes import Axis
from symjax.tracing.describe import Span
from symjax.tracing.program import Equation, Value, evaluate
from symjax.tracing.walk import AxesWalk

__all__ = ["Hidden", "activations", "contracted", "hidden", "units_of"]


class Hidden(NamedTuple):
    """Where a class is read: a value of the program, an axis, the span with the units, and which digit they are."""

    value: Value
    axis: int
    span: Span
    digit: int


def activations(found: Any, variables: Any, x: Any, names: Sequence[str] | None = None) -> dict[str, jax.Array]:
    """Activations of hidden units, as their first reader sees them: behind the nonlinearity and the normalisation.

    Source: this library's own; no hooks, the program that was analysed is evaluated.

    Args:
      found: from :func:`symjax.tracing.symmetries`.
      variables: pytree of arrays like those the symmetries were found for.
      x: the input, of the same shapes.
      names: of classes; None takes all that a contraction reads.

    Returns:
      Class name -> array (..., size), the units last.

    Raises:
      ValueError: a name that is no class's, or of a class that no contraction reads.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"], 0.0) @ v["out"]
      >>> variables = {"in": jnp.array([[1.0, -1.0]]), "out": jnp.ones((2, 3))}
      >>> found = symmetries(apply, variables, jnp.ones((1, 1)))
      >>> print(activations(found, variables, jnp.array([[2.0]]))["in"])
      [[2. 0.]]
    """
    places = found.model.hidden
    names = list(places) if names is None else list(names)
    for name in names:
        if name not in places:
            known = ", ".join(map(repr, places))
            raise ValueError(f"no contraction reads units named {name!r}; those that are read are {known}")
    wanted = [places[name].value for name in names]
    results = evaluate(found.model.program, jax.tree.leaves(variables), jax.tree.leaves(x), wanted)
    return {name: _units(array, places[name]) for name, array in zip(names, results, strict=True)}


def _units(array: jax.Array, place: Hidden) -> jax.Array:
    rows = positions(place.span)
    array = jnp.moveaxis(jnp.take(array, rows.ravel(), axis=place.axis), place.axis, -1)
    array = array.reshape(*array.shape[:-1], *rows.shape)
    return jnp.moveaxis(array, array.ndim - rows.ndim + place.digit, -1)


def hidden(axes: AxesWalk, units: Callable[[Value], tuple[Hidden, ...]]) -> dict[str, Hidden]:
    """The first contraction over each class with a value that depends on the input."""
    data, found = set(axes.program.inputs), {}
    for equation in axes.program.equations:
        for value, axis in contracted(equation):
            for place in units(value) if value in data else ():
                if place.axis == axis:
                    found.setdefault(place.span.digits[place.digit].name, place)
        if any(value in data for value in equation.inputs):
            data.update(equation.outputs)
    return found


def units_of(axes: AxesWalk, name: dict[Axis, str], span: Any) -> Callable[[Value], tuple[Hidden, ...]]:
    """Where the classes run in any value of the program, by the name of the class."""

    def units(value: Value) -> tuple[Hidden, ...]:
        return tuple(
            Hidden(value, axis, span(monomial), digit)
            for axis, column in enumerate(axes.layout(value))
            for monomial in column
            for digit, (atom, _) in enumerate(monomial.factors)
            if atom in name and atom.frozen is None
        )

    return units


def contracted(equation: Equation) -> list[tuple[Value, int]]:
    """The values that an equation sums over, each with the axis."""
    if equation.name == "dot_general":
        summed, _ = equation.params["dimension_numbers"]
        return [(v, axis) for v, axes in zip(equation.inputs, summed, strict=True) for axis in axes]
    if equation.name == "conv_general_dilated":
        return [(equation.inputs[0], equation.params["dimension_numbers"][0][1])]
    return []
