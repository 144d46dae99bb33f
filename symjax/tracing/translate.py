"""Translations as flows: what is added to each leaf, the absorbing leaves included."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.tracing.action import spread_on
from symjax.tracing.describe import Path, Shift
from symjax.tracing.program import Equation, Program, Value
from symjax.tracing.shifts import IDENTITY, WEIGHTED, WRITTEN, Absorbed, Flow

__all__ = ["Slices", "directions"]


class Slices(NamedTuple):
    """The parts of the program along which translations pass from leaf to leaf."""

    flows: Mapping[tuple[Value, int], Mapping[tuple, Flow]]
    absorbed: Sequence[Absorbed]
    makers: Mapping[Value, Equation]
    centred: Mapping[Value, Any]


def directions(
    program: Program,
    paths: Sequence[Path],
    slices: Slices,
    shifts: Sequence[Shift],
    coordinates: Sequence[Any],
    leaves: Mapping[Path, Any],
) -> dict[Path, Any]:
    """What the translations with these coordinates add to each leaf, at the leaves given.

    Args:
      program: the model's.
      paths: of the leaves, in the program's order.
      slices: from the walk.
      shifts: the families.
      coordinates: one array for each family.
      leaves: path -> array.
    """
    own = {leaf: (paths[n], lead) for leaf, (n, lead) in zip(program.leaves, program.origins, strict=True)}
    tangents = _Tangents(slices, {leaf: _entry(leaves[path], lead) for leaf, (path, lead) in own.items()})
    held: dict[int, dict[Path, Any]] = {IDENTITY: {}, WEIGHTED: {}, WRITTEN: {}}
    for shift, u in zip(shifts, coordinates, strict=True):
        if shift.centred:
            for axis in range(len(shift.shape)):
                u = u - jnp.mean(u, axis, keepdims=True)
        for term in shift.terms:
            leaf, target = leaves[term.place.path], held[IDENTITY if term.weight is None else term.weight[2]]
            zero = jnp.zeros(jnp.shape(leaf), jnp.result_type(leaf))
            step = spread_on(zero, float(term.degree) * u, term)
            if term.weight is not None and (gain := term.weight[0]) is not None:
                shape = [-1 if axis == term.weight[1] else 1 for axis in range(zero.ndim)]
                step = step * _inverse(tangents.primal(gain)).reshape(shape).astype(step.dtype)
            target[term.place.path] = target.get(term.place.path, zero) + step
    # copies: an absorbing leaf changes what is added to it, not what its own tokens say
    added: dict[Path, Any] = {}
    for kind, steps in held.items():
        for leaf, (path, lead) in own.items():
            if path in steps:
                tangents.known[leaf, kind] = _entry(steps[path], lead)
        added |= {path: added.get(path, 0) + step for path, step in steps.items()}
    for absorbed in slices.absorbed:
        parts = [tangents.of(absorbed.value, label) for label in absorbed.labels]
        parts = [part for part in parts if part is not None]
        if parts:
            path, lead = own[absorbed.leaf]
            whole = jnp.broadcast_to(absorbed.factor * sum(parts), _joint(absorbed))
            step = tangents.pull(absorbed.leaf, absorbed.operand, whole)
            before = added.get(path, jnp.zeros(jnp.shape(leaves[path]), step.dtype))
            added[path] = before + step if lead is None else before.at[lead].add(step)
    return added


def _inverse(gain: Any) -> Any:
    """A multiple of 1 / gain, at most one; what no gain lets through is free by itself."""
    smallest = jnp.min(jnp.abs(gain))
    return jnp.where(gain == 0, 1, smallest / jnp.where(gain == 0, 1, gain))


def _entry(leaf: Any, lead: int | None) -> Any:
    return leaf if lead is None else leaf[lead]


def _joint(absorbed: Absorbed) -> tuple[int, ...]:
    return np.broadcast_shapes(absorbed.operand.shape, absorbed.value.shape)


class _Tangents:
    """Derivatives of values along what was added to the leaves, one label at a time, where something asks."""

    def __init__(self, slices: Slices, leaves: Mapping[Value, Any]) -> None:
        self.slices, self.leaves = slices, leaves
        self.known: dict[tuple[Value, int], Any] = {}
        self.values: dict[Value, Any] = {}

    def of(self, value: Value, label: int) -> Any:
        """Tangent of a value; None is zero."""
        if value in self.leaves:
            return self.known.get((value, label))
        if (value, label) not in self.known:
            total = None
            for flow in self.slices.flows.get((value, label), {}).values():
                part = self._step(flow, value)
                total = part if total is None else total if part is None else total + part
            self.known[value, label] = total
        return self.known[value, label]

    def _step(self, flow: Flow, out: Value) -> Any:
        equation, place = flow.equation, flow.place
        tangent = self.of(equation.inputs[place], flow.before)
        if tangent is None:
            return None
        if flow.how == "pass":
            return flow.factor * jnp.broadcast_to(tangent, out.shape).astype(tangent.dtype)
        if flow.how == "twice":
            return 2 * self.primal(equation.inputs[place]) * tangent
        if equation.name == "gather" and flow.how == "average":
            return self._average(equation, tangent)
        operands = []
        for k, value in enumerate(equation.inputs):
            floating = jnp.issubdtype(value.dtype, jnp.floating)
            if k == place:
                operands.append(tangent)
            elif flow.how == "offset":
                held = self.slices.centred[value]
                shape = [-1 if axis == held.axis else 1 for axis in range(len(value.shape))]
                offset = sum(float(factor) * self.primal(part).reshape(shape) for part, factor in held.offset)
                operands.append(jnp.broadcast_to(offset, value.shape).astype(tangent.dtype))
            elif flow.how == "move" and floating:
                operands.append(jnp.zeros(value.shape, tangent.dtype))
            elif flow.how == "average" and floating:
                operands.append(jnp.full(value.shape, 1 / _rows(equation, k), tangent.dtype))
            else:
                operand = self.primal(value)
                operands.append(operand.astype(tangent.dtype) if floating else operand)
        params = {k: tangent.dtype if _is_float(p) else p for k, p in equation.params.items()}
        results = equation.primitive.bind(*operands, **params)
        return results[equation.outputs.index(out)] if equation.primitive.multiple_results else results

    def _average(self, equation: Equation, tangent: Any) -> Any:
        """Look up rows that are all alike."""
        numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
        gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
        rows = tuple(k for k, n in enumerate(tangent.shape) if k in gone or sizes[k] != n)
        alike = jnp.broadcast_to(tangent.mean(rows, keepdims=True), tangent.shape)
        indices = jnp.zeros(equation.inputs[1].shape, equation.inputs[1].dtype)
        return equation.primitive.bind(alike, indices, **equation.params)

    def primal(self, value: Value) -> Any:
        """A value that depends on the leaves alone."""
        if value.constant is not None:
            return jnp.asarray(value.constant)
        if value in self.leaves:
            return jnp.asarray(self.leaves[value])
        if value not in self.values:
            maker = self.slices.makers[value]
            operands = [self.primal(operand) for operand in maker.inputs]
            floats = [operand.dtype for operand in operands if jnp.issubdtype(operand.dtype, jnp.floating)]
            dtype = jnp.result_type(*floats) if floats else None
            operands = [o.astype(dtype) if jnp.issubdtype(o.dtype, jnp.floating) else o for o in operands]
            params = {k: dtype if _is_float(p) and dtype is not None else p for k, p in maker.params.items()}
            results = maker.primitive.bind(*operands, **params)
            results = results if maker.primitive.multiple_results else [results]
            self.values.update(zip(maker.outputs, results, strict=True))
        return self.values[value]

    def pull(self, leaf: Value, operand: Value, step: Any) -> Any:
        """Move an addition to an operand back to the leaf that the operand is."""
        chain = []
        while operand is not leaf:
            chain.append(self.slices.makers[operand])
            operand = chain[-1].inputs[0]

        def forward(array: Any) -> Any:
            for maker in reversed(chain):
                params = {k: array.dtype if _is_float(p) else p for k, p in maker.params.items()}
                array = maker.primitive.bind(array, **params)
            return jnp.broadcast_to(array, step.shape)

        back = jax.linear_transpose(forward, jax.ShapeDtypeStruct(leaf.shape, step.dtype))
        (total,), (count,) = back(step), back(jnp.ones_like(step))
        return total / count


def _rows(equation: Equation, place: int) -> int:
    axes = equation.params["dimension_numbers"][0][place]
    return int(np.prod([equation.inputs[place].shape[axis] for axis in axes]))


def _is_float(param: Any) -> bool:
    return isinstance(param, np.dtype | type) and jnp.issubdtype(param, jnp.floating)
