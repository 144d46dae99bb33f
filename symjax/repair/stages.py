"""Exact statistics of a network corrected place after place, every place from what was kept behind an earlier one."""

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np

from symjax.matching.moments import examples
from symjax.repair.places import Place
from symjax.repair.statistics import Statistics, changed, fetched, moments_at, pooled
from symjax.repair.steps import Affine, Step, correct
from symjax.tracing import Symmetries
from symjax.tracing.program import Equation, Program, Value, evaluate

__all__ = ["Stage", "place_after_place", "stages"]

_MOST_KEPT = 2**30  # bytes, of all batches together


class Stage(NamedTuple):
    """A part of a program: up to a place, from what was kept behind the place before.

    Attributes:
      program: its inputs are those of the whole, then ``before``.
      before: values that depend on the inputs, were made up to the place before, and are read behind it.
      after: the same, behind this place.
    """

    program: Program
    before: tuple[Value, ...]
    after: tuple[Value, ...]


def stages(program: Program, places: Sequence[Value]) -> list[Stage]:
    """Cut a program behind each of several values, in the order in which it makes them.

    What depends on the leaves alone is not kept but computed by every stage that reads it.

    Source: this library's bookkeeping.
    """
    made = {value: n for n, equation in enumerate(program.equations) for value in equation.outputs}
    read: dict[Value, int] = {}
    for equation in _needed(program.equations, frozenset(), places):
        read.update(dict.fromkeys(equation.inputs, made[equation.outputs[0]]))
    data = set(program.inputs)
    for equation in program.equations:
        if not data.isdisjoint(equation.inputs):
            data.update(equation.outputs)
    alive = [value for value in made if value in data and value in read]
    found, before = [], ()
    for number, place in enumerate(places, 1):
        after = tuple(value for value in alive if made[value] <= made[place] < read[value])
        if place in places[number:] and place not in after:  # streams side by side in one tensor
            after += (place,)
        equations = _needed(program.equations, frozenset(before), (place, *after))
        part = program._replace(inputs=(*program.inputs, *before), equations=equations)
        found.append(Stage(part, before, after))
        before = after
    return found


def _needed(equations: Sequence[Equation], known: frozenset[Value], wanted: Iterable[Value]) -> tuple[Equation, ...]:
    """The equations by which the values wanted come from those known, from leaves and from inputs."""
    needed, found = set(wanted) - known, []
    for equation in reversed(equations):
        if not needed.isdisjoint(equation.outputs):
            needed.update(value for value in equation.inputs if value not in known)
            found.append(equation)
    return tuple(reversed(found))


def place_after_place(
    traced: Symmetries, leaves: Sequence[Any], batches: Sequence[Any], places: Sequence[Place], steps: Sequence[Step]
) -> list[Statistics]:
    """Statistics of a network at each place over all batches, the earlier places corrected.

    One forward pass in all: behind each place the tensors that are read later are kept, for all batches, where they
    take at most 1 GiB together; otherwise the next place starts from those kept last.

    Source: this library's bookkeeping.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      leaves: of the network, on the device.
      batches: leaves of inputs, from :func:`symjax.matching.moments.examples`.
      places: in the order of the program.
      steps: what the correction of each place wants.

    Returns:
      The statistics of each place.
    """
    model = traced.model
    parts = model.once(("stages", *places), lambda: stages(model.program, [place.value for place in places]))
    runs = [
        model.once(("stage", n, *places), lambda n=n, part=part: jax.jit(_run(model.program, part, places, n)))
        for n, part in enumerate(parts)
    ]
    times = [examples(model.program, batch)[0] for batch in batches]
    kept: list[Sequence[Any]] = [()] * len(batches)
    found: list[Statistics] = []
    affine: list[Any] = [None]
    start = 0
    for number, place in enumerate(places):
        keep = sum(times) * sum(map(_bytes, parts[number].after)) <= _MOST_KEPT
        seen = []
        for which, inputs in enumerate(batches):
            tensors = kept[which]
            for run, correction in zip(runs[start : number + 1], affine[start:], strict=True):
                moments, tensors = run(correction, leaves, inputs, tensors)
            seen.append([moments])
            if keep:
                kept[which] = tensors
        start = number + 1 if keep else start
        found += pooled(fetched(times, seen, [place]))
        affine.append(Affine(*correct(steps[number], *found[-1])))
    return found


def _bytes(value: Value) -> int:
    return prod(value.shape) * np.dtype(value.dtype).itemsize


def _run(program: Program, part: Stage, places: Sequence[Place], number: int) -> Callable[..., Any]:
    """A function ``(affine of the place before, leaves, inputs, tensors)``: moments here, and the tensors to keep."""
    place, last = places[number], places[number - 1]  # the first one has nothing before it

    def run(affine: Affine | None, leaves: Any, inputs: Sequence[jax.Array], tensors: Sequence[jax.Array]) -> Any:
        times = inputs[0].shape[0] // program.inputs[0].shape[0]

        def one(arrays: Sequence[jax.Array], tensors: Sequence[jax.Array]) -> Any:
            tensors = [
                changed(array, last.segments, *affine) if value is last.value else array
                for value, array in zip(part.before, tensors, strict=True)
            ]
            array, *after = evaluate(part.program, leaves, [*arrays, *tensors], [place.value, *part.after])
            return moments_at(array, place.segments, times), after

        if times == 1:
            return one(inputs, tensors)
        stacked = [leaf.reshape(times, -1, *leaf.shape[1:]) for leaf in inputs]
        return jax.vmap(one, axis_name="examples", out_axes=(None, 0))(stacked, tensors)

    return run
