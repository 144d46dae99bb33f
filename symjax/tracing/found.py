"""Point it at a model: :func:`symmetries` gives every symmetry of its parameters that can be read off its program."""

import gc
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax.channels import Channel
from symjax.symmetry import Symmetry
from symjax.tracing.action import leaf_paths
from symjax.tracing.activations import Hidden, hidden, units_of
from symjax.tracing.axes import Axis
from symjax.tracing.describe import Class, Layouts, Linear, Path, Refusal, Scaling, Shift, Sign
from symjax.tracing.generators import generators
from symjax.tracing.ladder import climb
from symjax.tracing.names import Names, Origin
from symjax.tracing.program import Program, Value, flatten
from symjax.tracing.rules import RULES, UNKNOWN
from symjax.tracing.shifts import walk_shifts
from symjax.tracing.translate import Slices
from symjax.tracing.walk import walk_axes, walk_units

__all__ = ["Check", "Item", "Model", "Symmetries", "analyse", "trace_program"]


class Item(NamedTuple):
    """One group: a kind ("permutation", "scaling", "sign", "linear", "shift") and its name."""

    kind: str
    name: str


class Check(NamedTuple):
    """What came out of trying random elements on the model.

    Attributes:
      error: largest change of an output, relative to the largest output, under one random element of all groups kept.
      sensitivity: the same where the element acts on every second leaf only: what a wrong group would show.
      failed: the groups that changed the outputs, with their errors; they are not returned.
    """

    error: float
    sensitivity: float
    failed: tuple[tuple[Item, float], ...]


class Model(NamedTuple):
    """The program that was analysed, with the paths of its leaves and where its epsilons and its classes stand.

    ``functions`` holds what was compiled from the program, which never changes, for as long as the model lives.
    """

    program: Program
    paths: tuple[Path, ...]
    layouts: Layouts
    epsilons: frozenset[tuple[int, int]]
    slices: Slices
    hidden: Mapping[str, Hidden]
    units: Callable[[Value], tuple[Hidden, ...]]
    functions: dict[Hashable, Any]

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made at the first call with this key: a compiled function is traced once for a shape."""
        if key not in self.functions:
            self.functions[key] = make()
        return self.functions[key]


class Symmetries(NamedTuple):
    """The symmetries of a model's parameters.

    Attributes:
      classes: name -> what is known of an index of the parameters: size, where it appears, what acts on it.
      permutations: name of each class that may be permuted -> the classes, with their sizes, that the permutation may
        depend on (heads, groups).
      scalings: families of positive scalings, a basis.
      signs: families of sign changes.
      linear: matrix groups; a GL contains the scaling of the same class.
      shifts: families of translations.
      refused: primitives that were not followed, and what they froze.
      unread: leaves that the outputs do not depend on.
      checked: the numerical check, None where only shapes were given.
      model: the program, for whoever evaluates it again.
    """

    classes: Mapping[str, Class]
    permutations: Mapping[str, tuple[tuple[str, int], ...]]
    scalings: tuple[Scaling, ...]
    signs: tuple[Sign, ...]
    linear: tuple[Linear, ...]
    shifts: tuple[Shift, ...]
    refused: tuple[Refusal, ...]
    unread: tuple[Path, ...]
    checked: Check | None
    model: Model

    @property
    def channels(self) -> dict[str, Channel]:
        """What was found as channels, for :func:`symjax.channels.permute`, ``rescale``, ``mix`` and ``flip``."""
        from symjax.tracing.channels import channels

        return channels(self)

    @property
    def symmetry(self) -> Symmetry:
        """All continuous symmetries composed: kind ("scalings", "linear", "shifts") -> name -> coordinates."""
        from symjax.tracing.channels import symmetry

        return symmetry(self)

    @property
    def exact(self) -> Symmetry:
        """As :attr:`symmetry`, but only of what holds to rounding: nothing up to an epsilon or a mask."""
        from symjax.tracing.channels import symmetry

        kept = (tuple(one for one in held if not one.up_to) for held in (self.scalings, self.shifts))
        return symmetry(self._replace(**dict(zip(("scalings", "shifts"), kept, strict=True))))

    @property
    def dimension(self) -> int:
        """Dimension of all continuous symmetries together."""
        scalings = sum(scaling.dimension for scaling in self.scalings)
        linear = sum(linear.dimension - linear.diagonal for linear in self.linear)
        return scalings + linear + sum(shift.dimension for shift in self.shifts)

    def __str__(self) -> str:
        from symjax.tracing.report import table

        return table(self)

    def __repr__(self) -> str:
        counts = f"{len(self.permutations)} permutation classes, {len(self.scalings)} scalings, {len(self.signs)} signs"
        counts += f", {len(self.linear)} linear groups, {len(self.shifts)} translations"
        return f"<Symmetries: {counts}, dimension {self.dimension}>"


def trace_program(apply: Callable[..., Any], variables: Any, x: Any) -> tuple[Program, tuple[Path, ...]]:
    """The flat program of ``apply(variables, x)`` and the leaves' paths.

    Raises:
      ValueError: a function that does not run on these shapes, has side effects, or does not return arrays; variables
        without a floating leaf.
    """
    leaves, _ = leaf_paths(variables)
    if not any(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves.values()):
        raise ValueError("variables hold no floating array, so there are no parameters whose symmetries could be found")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), (variables, x))
    try:
        closed = jax.make_jaxpr(apply)(*shapes)
    except Exception as error:
        raise ValueError(f"apply(variables, x) does not run on these shapes: {_sentence(error)}") from error
    if effects := [str(effect) for effect in closed.effects if "IO" in type(effect).__name__]:
        raise ValueError(
            f"apply(variables, x) has side effects ({', '.join(effects)}), but must be a pure function: take them out"
        )
    if not closed.out_avals:
        raise ValueError("apply(variables, x) returns no array, so there is nothing for its parameters to change")
    return flatten(closed, len(leaves)), tuple(leaves)


def _sentence(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "valid JAX type" in text:
        return f"it returns what is no array ({text})"
    if "Rng" in type(error).__name__ or "PRNG" in text:
        return f"it draws random numbers, so pass its evaluation mode or fix the key inside apply ({text})"
    if "ModifyScopeVariable" in type(error).__name__:
        return f"it updates its variables, so pass its evaluation mode ({text})"
    return text


def analyse(program: Program, paths: tuple[Path, ...]) -> Symmetries:
    """Run every analysis and name what it finds; nothing is checked."""
    collecting = gc.isenabled()
    gc.disable()  # nothing is garbage before the end, and each collection looks at every object of the process
    try:
        return _analyse(program, paths)
    finally:
        if collecting:
            gc.enable()


def _analyse(program: Program, paths: tuple[Path, ...]) -> Symmetries:
    axes = walk_axes(program, RULES, UNKNOWN)
    units, signs = (walk_units(axes, RULES, UNKNOWN, modulo_two) for modulo_two in (False, True))
    ladder = climb(axes, RULES)
    origins = {
        leaf: Origin(paths[number], program.shapes[number], lead)
        for leaf, (number, lead) in zip(program.leaves, program.origins, strict=True)
    }
    names = Names(axes, origins, ladder)
    linear: dict[Axis, list[Linear]] = {}
    found = generators(units)
    scalings = [names.scaling(units, generator) for generator in found]
    names.labels.clear()
    for scaling, generator in zip(scalings, found, strict=True):
        for atom in generator.atoms:
            if (group := names.general_linear(units, generator, atom)) is not None:
                linear.setdefault(atom, []).append(group._replace(scaling=scaling.name))
                break
    for atom in ladder.together:
        if atom not in linear and (group := names.orthogonal(atom)) is not None:
            linear[atom] = [group]
    shifts = walk_shifts(axes, ladder, RULES)
    slices = Slices(shifts.flows, shifts.absorbed, shifts.makers, shifts.centred)
    units_in = units_of(axes, names.name, names.span)
    families = tuple(names.sign(signs, generator) for generator in generators(signs))
    names.labels.clear()
    return Symmetries(
        classes=names.classes({atom: groups[0].group for atom, groups in linear.items()}),
        permutations=names.permutable(),
        scalings=tuple(scalings),
        signs=families,
        linear=tuple(group for groups in linear.values() for group in groups),
        shifts=tuple(names.shift(shifts, generator) for generator in generators(shifts)),
        refused=names.refusals(),
        unread=tuple(path for path in paths if path not in names.path.values()),
        checked=None,
        model=Model(
            program,
            paths,
            names.layouts(),
            frozenset(place for place, _ in units.epsilons),
            slices,
            hidden(axes, units_in),
            units_in,
            {},
        ),
    )
