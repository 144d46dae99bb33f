"""A function as a flat list of equations: calls inlined, loops unrolled, constants folded, dead equations dropped.

Every analysis of :mod:`symjax.tracing` is one walk over :attr:`Program.equations`, and :func:`evaluate` runs the same
list, so that what was analysed is what is checked.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.tracing.constants import fold

__all__ = ["Equation", "Program", "Value", "evaluate", "flatten", "source_line"]

_UNROLLED = 50_000  # equations of one loop: beyond it the loop stays one primitive, which freezes what it reads


class Value:
    """One array of the program; ``constant`` is its NumPy value where no parameter and no input enters it."""

    __slots__ = ("constant", "dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, constant: np.ndarray | None = None) -> None:
        self.shape, self.dtype, self.constant = tuple(shape), dtype, constant


class Equation(NamedTuple):
    """One primitive applied to values."""

    primitive: Any
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    params: Mapping[str, Any]
    source: tuple[Any, ...]  # of the calls it stands in, and its own

    @property
    def name(self) -> str:
        """Name of the primitive."""
        return self.primitive.name


class Program(NamedTuple):
    """A flat function of leaves (the variables) and inputs.

    Attributes:
      leaves: a leaf that is only read as a stack of layers is one value for each layer.
      origins: for each of them the number of the variables' leaf, and which entry of the stack it is or None.
      shapes: of the variables' leaves.
      inputs: the inputs' leaves.
      outputs: what the function returns.
      equations: in an order in which they can be computed.
    """

    leaves: tuple[Value, ...]
    origins: tuple[tuple[int, int | None], ...]
    shapes: tuple[tuple[int, ...], ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    equations: tuple[Equation, ...]


def source_line(equation: Equation) -> str:
    """File, line and function where the user wrote an equation."""
    from jax.extend import source_info_util  # late: it brings half of jax along

    # innermost first: an equation inside jax's own functions knows no line of the user's
    return next((line for source in reversed(equation.source) if (line := source_info_util.summarize(source))), "")


def flatten(closed: Any, leaves: int) -> Program:
    """Flatten a jaxpr whose first ``leaves`` arguments are the variables' leaves and the rest the inputs."""
    arguments = tuple(Value(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars)
    builder = _Builder()
    outputs = builder.run(closed, arguments)
    equations = _live(builder.equations, outputs)
    return _unstacked(arguments[:leaves], arguments[leaves:], tuple(outputs), equations)


def _unstacked(
    leaves: tuple[Value, ...], inputs: tuple[Value, ...], outputs: tuple[Value, ...], equations: tuple[Equation, ...]
) -> Program:
    """Take each entry of a stack that a loop cut apart for a leaf of its own."""
    readers: dict[Value, list[Equation]] = {}
    for equation in equations:
        for value in equation.inputs:
            readers.setdefault(value, []).append(equation)
    values, origins, gone = [], [], set()
    for number, leaf in enumerate(leaves):
        cuts = readers.get(leaf, [])
        if len(cuts) != 1 or leaf in outputs or not _is_stack(cuts[0], readers):
            values.append(leaf)
            origins.append((number, None))
            continue
        gone.add(id(cuts[0]))
        for lead, row in enumerate(cuts[0].outputs):
            for squeeze in readers.get(row, []):
                gone.add(id(squeeze))
                values.append(squeeze.outputs[0])
                origins.append((number, lead))
    kept = tuple(equation for equation in equations if id(equation) not in gone)
    return Program(tuple(values), tuple(origins), tuple(leaf.shape for leaf in leaves), inputs, outputs, kept)


def _is_stack(cut: Equation, readers: Mapping[Value, list[Equation]]) -> bool:
    if cut.name != "split" or cut.params["axis"] != 0 or set(cut.params["sizes"]) != {1}:
        return False
    return all(
        reader.name == "squeeze" and tuple(reader.params["dimensions"]) == (0,)
        for row in cut.outputs
        for reader in readers.get(row, [])
    )


class _Builder:
    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.sources: list[Any] = []

    def run(self, closed: Any, arguments: Sequence[Value]) -> list[Value]:
        jaxpr = closed.jaxpr
        values = dict(zip(jaxpr.constvars, map(constant, closed.consts), strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Value:
            # a literal has a value of its own, a variable has none
            return constant(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            inline = _INLINE.get(eqn.primitive.name, _Builder.emit)
            self.sources.append(eqn.source_info)
            values.update(zip(eqn.outvars, inline(self, eqn, inputs), strict=True))
            self.sources.pop()
        return [read(atom) for atom in jaxpr.outvars]

    def emit(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """Keep an equation, unless all its inputs are known."""
        if eqn.primitive.name == "select_n" and (chosen := _chosen(inputs)) is not None:
            return [chosen]
        shapes = [(var.aval.shape, var.aval.dtype) for var in eqn.outvars]
        if all(value.constant is not None for value in inputs) and not eqn.effects:
            folded = fold(eqn.primitive, [value.constant for value in inputs], eqn.params)
            return [Value(*shape, array) for shape, array in zip(shapes, folded, strict=True)]
        outputs = [Value(*shape) for shape in shapes]
        self._append(eqn.primitive, inputs, outputs, eqn.params)
        return outputs

    def call(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """Look through jit, remat, closed_call, custom_jvp and custom_vjp."""
        inner = next(eqn.params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in eqn.params)
        if not hasattr(inner, "consts"):  # remat holds a jaxpr without constants
            from jax.extend.core import ClosedJaxpr

            inner = ClosedJaxpr(inner, ())
        return self.run(inner, inputs)

    def cond(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """Follow every branch and select: what is found holds in all of them."""
        index, arguments = inputs[0], inputs[1:]
        branches = eqn.params["branches"]
        if index.constant is not None:
            return self.run(branches[int(np.clip(index.constant, 0, len(branches) - 1))], arguments)
        results = [self.run(branch, arguments) for branch in branches]
        if len(branches) == 2 and index.dtype != np.bool_:
            index = self.bind(jax.lax.ne_p, [index, constant(np.zeros((), index.dtype))], {})
        return [self.bind(jax.lax.select_n_p, [index, *outs], {}) for outs in zip(*results, strict=True)]

    def scan(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """Unroll: each layer, or each moment, has equations of its own."""
        params = eqn.params
        consts, carries, length = params["num_consts"], params["num_carry"], params["length"]
        if length * max(1, len(params["jaxpr"].jaxpr.eqns)) > _UNROLLED:
            return self.emit(eqn, inputs)
        fixed, carry, stacked = inputs[:consts], inputs[consts : consts + carries], inputs[consts + carries :]
        slices = [self.unstack(value, length) for value in stacked]
        columns: list[list[Value]] = [[] for _ in eqn.outvars[carries:]]
        order = range(length - 1, -1, -1) if params["reverse"] else range(length)
        for step in order:
            outs = self.run(params["jaxpr"], [*fixed, *carry, *(column[step] for column in slices)])
            carry = outs[:carries]
            for column, out in zip(columns, outs[carries:], strict=True):
                column.append(out)
        if params["reverse"]:
            columns = [column[::-1] for column in columns]
        return [*carry, *(self.stack(column) for column in columns)]

    def unstack(self, value: Value, length: int) -> list[Value]:
        """Slice an array along its first axis."""
        if value.constant is not None:
            return [Value(value.shape[1:], value.dtype, value.constant[step]) for step in range(length)]
        sizes = (1,) * length
        parts = self.bind_many(jax.lax.split_p, [value], {"sizes": sizes, "axis": 0}) if length > 1 else [value]
        return [self.bind(jax.lax.squeeze_p, [part], {"dimensions": (0,)}) for part in parts]

    def stack(self, values: list[Value], axis: int = 0) -> Value:
        """Stack arrays along a new axis."""
        shape = values[0].shape
        places = tuple(place for place in range(len(shape) + 1) if place != axis)
        params = {"shape": (*shape[:axis], 1, *shape[axis:]), "broadcast_dimensions": places, "sharding": None}
        rows = [self.bind(jax.lax.broadcast_in_dim_p, [value], params) for value in values]
        return rows[0] if len(rows) == 1 else self.bind(jax.lax.concatenate_p, rows, {"dimension": axis})

    def reshape(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """Transpose first where the reshape reads the axes in another order, as a vmapped convolution's does."""
        order = eqn.params["dimensions"]
        if order is None:
            return self.emit(eqn, inputs)
        moved = self.bind(jax.lax.transpose_p, inputs, {"permutation": tuple(order)})
        return self.bind_many(jax.lax.reshape_p, [moved], {**eqn.params, "dimensions": None})

    def tile(self, value: Value, reps: tuple[int, ...]) -> Value:
        """Repeat along each axis: a broadcast along a new axis outside of it, and a reshape."""
        reps = (1,) * (len(value.shape) - len(reps)) + tuple(reps)
        shape = (1,) * (len(reps) - len(value.shape)) + value.shape
        wide = tuple(size for pair in zip(reps, shape, strict=True) for size in pair)
        places = tuple(range(2 * (len(reps) - len(value.shape)) + 1, 2 * len(reps), 2))
        params = {"shape": wide, "broadcast_dimensions": places, "sharding": None}
        spread = self.bind(jax.lax.broadcast_in_dim_p, [value], params)
        new = tuple(rep * size for rep, size in zip(reps, shape, strict=True))
        return self.bind(jax.lax.reshape_p, [spread], {"new_sizes": new, "dimensions": None, "sharding": None})

    def bind(self, primitive: Any, inputs: list[Value], params: dict[str, Any]) -> Value:
        return self.bind_many(primitive, inputs, params)[0]

    def bind_many(self, primitive: Any, inputs: list[Value], params: dict[str, Any]) -> list[Value]:
        """Add an equation of our own."""
        if all(value.constant is not None for value in inputs):
            return [constant(array) for array in fold(primitive, [value.constant for value in inputs], params)]
        structs = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in inputs]
        shapes = jax.eval_shape(lambda *arrays: primitive.bind(*arrays, **params), *structs)
        outputs = [Value(out.shape, out.dtype) for out in (shapes if primitive.multiple_results else [shapes])]
        self._append(primitive, inputs, outputs, params)
        return outputs

    def _append(self, primitive: Any, inputs: list[Value], outputs: list[Value], params: Mapping[str, Any]) -> None:
        self.equations.append(Equation(primitive, tuple(inputs), tuple(outputs), params, tuple(self.sources)))


_CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_lin"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
)
_INLINE: dict[str, Callable[..., list[Value]]] = {
    **dict.fromkeys(_CALLS, _Builder.call),
    "cond": _Builder.cond,
    "optimization_barrier": lambda _, __, inputs: inputs,
    "reshape": _Builder.reshape,
    "scan": _Builder.scan,
    "stack": lambda builder, eqn, inputs: [builder.stack(inputs, eqn.params["axis"])],
    "tile": lambda builder, eqn, inputs: [builder.tile(inputs[0], eqn.params["reps"])],
}


def constant(array: Any, dtype: Any = None) -> Value:
    """A value known while tracing."""
    if not isinstance(array, jax.Array) or not jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
        array = np.asarray(array, dtype)
    return Value(array.shape, array.dtype, array)


def _chosen(inputs: list[Value]) -> Value | None:
    """The operand that a known predicate selects everywhere: `jnp.var` ends in `where(n > 0, var, nan)`."""
    predicate = inputs[0].constant
    if predicate is None or not predicate.size or not np.all(predicate == predicate.flat[0]):
        return None
    return inputs[1 + int(predicate.flat[0])]


def _live(equations: list[Equation], outputs: Sequence[Value]) -> tuple[Equation, ...]:
    needed = set(outputs)
    kept = []
    for equation in reversed(equations):
        if not needed.isdisjoint(equation.outputs):
            needed.update(equation.inputs)
            kept.append(equation)
    return tuple(reversed(kept))


def evaluate(
    program: Program,
    leaves: Sequence[Any],
    inputs: Sequence[Any],
    wanted: Sequence[Value],
    zeroed: frozenset[tuple[int, int]] = frozenset(),
    dtype: Any = None,
    changed: Mapping[Value, Callable[[Any], Any]] | None = None,
) -> list[Any]:
    """Run the program's equations and return the wanted values.

    Args:
      program: from :func:`flatten`.
      leaves: arrays, one for each leaf.
      inputs: arrays, one for each input.
      wanted: values of the program.
      zeroed: (equation, operand) pairs that read next to nothing instead: epsilons, to check what holds up to them
        (not zero, so that what they keep finite, a norm of zeros, stays so).
      dtype: of the arithmetic in place of every floating dtype the program names; None keeps them.
      changed: values -> functions that say what stands in their place as soon as they are computed.
    """
    given = [leaves[number] if lead is None else leaves[number][lead] for number, lead in program.origins]
    values = dict(zip((*program.leaves, *program.inputs), map(_cast(dtype), (*given, *inputs)), strict=True))

    def read(value: Value) -> Any:
        return values[value] if value.constant is None else _cast(dtype)(value.constant)

    for number, equation in enumerate(program.equations):
        arrays = [read(value) for value in equation.inputs]
        for place in range(len(arrays)):
            if (number, place) in zeroed:
                arrays[place] = jnp.full_like(arrays[place], 1e-60)
        params, opaque = equation.params, dtype is not None and any(map(_is_program, equation.params.values()))
        if opaque:  # what it holds was written for the types it was traced with
            arrays = [jnp.asarray(a, v.dtype) for a, v in zip(arrays, equation.inputs, strict=True)]
        elif dtype is not None:
            params = {key: dtype if _floating(param) else param for key, param in params.items()}
        results = equation.primitive.bind(*arrays, **params)
        results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outputs, map(_cast(dtype), results) if opaque else results, strict=True))
        for value in equation.outputs if changed else ():
            if value in changed:
                values[value] = changed[value](values[value])
    return [read(value) for value in wanted]


def _is_program(param: Any) -> bool:
    return (callable(param) and not isinstance(param, type)) or hasattr(param, "eqns") or hasattr(param, "jaxpr")


def _floating(param: Any) -> bool:
    return isinstance(param, np.dtype | type) and jnp.issubdtype(param, jnp.floating)


def _cast(dtype: Any) -> Callable[[Any], Any]:
    def cast(array: Any) -> Any:
        array = jnp.asarray(array)
        return array.astype(dtype) if dtype is not None and jnp.issubdtype(array.dtype, jnp.floating) else array

    return cast
