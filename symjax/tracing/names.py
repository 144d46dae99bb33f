"""What the walks found, in names: an atom is called after the first leaf it occurs in."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from symjax.tracing.axes import Axis, Monomial
from symjax.tracing.describe import (
    Class,
    Digit,
    Frame,
    Layout,
    Layouts,
    Linear,
    Path,
    Place,
    Refusal,
    Scaling,
    Shift,
    Sign,
    Site,
    Span,
    Term,
    joined,
)
from symjax.tracing.generators import Generator, Touched
from symjax.tracing.ladder import Ladder
from symjax.tracing.program import Equation, Value, source_line
from symjax.tracing.rules import RULES
from symjax.tracing.shifts import ShiftsWalk
from symjax.tracing.walk import AxesWalk, UnitsWalk

__all__ = ["Names", "Origin"]


class Origin(NamedTuple):
    """The leaf that a value of the program is, or the entry of a stacked leaf."""

    path: Path
    shape: tuple[int, ...]
    lead: int | None


class Names:
    """Names for atoms, and the walk's results in those names."""

    def __init__(self, axes: AxesWalk, origins: dict[Value, Origin], ladder: Ladder) -> None:
        self.axes, self.ladder = axes, ladder
        self.labels: dict[str, int] = {}
        self._takers: Touched | None = None
        self._spans: dict[Monomial, Span] = {}
        order = dict.fromkeys(value for equation in axes.program.equations for value in equation.inputs)
        order.update(dict.fromkeys(axes.program.outputs))
        self.read = [value for value in order if value in origins]
        self.path = {leaf: origins[leaf].path for leaf in self.read}
        self.origins = origins
        self.name: dict[Axis, str] = {}
        taken: set[str] = set()
        self.sites: dict[Axis, list[tuple[Value, int]]] = {}
        for leaf in self.read:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                continue
            for place in reversed(range(len(leaf.shape))):
                for monomial in axes.layout(leaf)[place]:
                    for atom, _ in monomial.factors:
                        if (leaf, place) not in self.sites.setdefault(atom, []):
                            self.sites[atom].append((leaf, place))
                        if atom not in self.name:
                            self.name[atom] = _fresh(origins[leaf], place, taken)

    def span(self, monomial: Monomial) -> Span:
        if monomial not in self._spans:
            digits = (Digit(self.name.get(atom, ""), atom.size, stride) for atom, stride in monomial.factors)
            self._spans[monomial] = Span(monomial.offset, tuple(digits))
        return self._spans[monomial]

    def layouts(self) -> Layouts:
        """Spans of every axis of every leaf that is read."""
        return tuple(
            Layout(
                self.path[leaf],
                tuple(tuple(map(self.span, column)) for column in self.axes.layout(leaf)),
                self.origins[leaf].shape,
                self.origins[leaf].lead,
            )
            for leaf in self.read
            if jnp.issubdtype(leaf.dtype, jnp.floating)
        )

    def terms(self, walk: UnitsWalk, generator: Generator) -> tuple[Term, ...]:
        """Where a generator acts; blocks that tile an axis are one."""
        own = (self.term(walk, number, degree, generator.atoms) for number, degree in generator.vector.items())
        return joined(tuple(own))

    def term(self, walk: UnitsWalk, number: int, degree: Any, atoms: Sequence[Axis]) -> Term:
        """The place of an unknown, and the digits that some atoms are there."""
        unknown = walk.unknowns[number]
        code_of = {id(atom): divmod(code, 16) for code, atom in unknown.chosen}
        term = self.at(unknown.leaf, unknown.block, degree, [code_of[id(atom)] for atom in atoms])
        if unknown.weight is None:
            return term
        gain, axis, kind = unknown.weight
        return term._replace(weight=(gain, axis + (self.origins[unknown.leaf].lead is not None), kind))

    def at(self, leaf: Value, block: tuple[int, ...], degree: Any, along: Sequence[tuple[int, int]]) -> Term:
        """A term at a block of a leaf."""
        layout, origin = self.axes.layout(leaf), self.origins[leaf]
        spans = tuple(self.span(layout[axis][n]) for axis, n in enumerate(block))
        if origin.lead is not None:
            spans, along = (Span(origin.lead, ()), *spans), [(axis + 1, digit) for axis, digit in along]
        return Term(Place(origin.path, spans, origin.shape), degree, tuple(along))

    def scaling(self, walk: UnitsWalk, generator: Generator) -> Scaling:
        """A family of positive scalings."""
        names, shape = self.over(generator.atoms)
        return Scaling(self.label(names), names, shape, self.terms(walk, generator), generator.centred, generator.up_to)

    def sign(self, walk: UnitsWalk, generator: Generator) -> Sign:
        """A family of sign changes."""
        names, shape = self.over(generator.atoms)
        return Sign(self.label(names), names, shape, self.terms(walk, generator))

    def shift(self, walk: ShiftsWalk, generator: Generator) -> Shift:
        """A family of translations."""
        names, shape = self.over(generator.atoms)
        if self._takers is None:
            self._takers = Touched(walk.system, ((taken.forms, n) for n, taken in enumerate(walk.absorbed)))
        takers = sorted(self._takers.by(generator.vector))
        absorbed = tuple(dict.fromkeys(self.path[walk.absorbed[n].leaf] for n in takers))
        terms = self.terms(walk, generator)
        return Shift(self.label(names), names, shape, terms, absorbed, generator.centred, generator.up_to)

    def over(self, atoms: tuple[Axis, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Names and sizes of atoms."""
        return tuple(self.name[atom] for atom in atoms), tuple(atom.size for atom in atoms)

    def label(self, names: tuple[str, ...]) -> str:
        """A name of its own for a family."""
        base = " x ".join(names) or "all"
        self.labels[base] = self.labels.get(base, 0) + 1
        return base if self.labels[base] == 1 else f"{base}, {self.labels[base]}"

    def occurrences(self, atom: Axis) -> list[tuple[Value, tuple[int, ...], tuple[int, int]]]:
        """Every (leaf, block, (axis, digit)) where an atom occurs."""
        found = []
        for leaf in dict.fromkeys(leaf for leaf, _ in self.sites.get(atom, ())):
            layout = self.axes.layout(leaf)
            for block in np.ndindex(*map(len, layout)):
                for axis, number in enumerate(block):
                    for digit, (other, _) in enumerate(layout[axis][number].factors):
                        if other is atom:
                            found.append((leaf, block, (axis, digit)))
        return found

    def general_linear(self, walk: UnitsWalk, generator: Generator, atom: Axis) -> Linear | None:
        """GL where a scaling of degrees +1 and -1 meets only linear operations: degrees are variances."""
        if atom.frozen is not None or atom in self.ladder.broken or atom.size < 2 or generator.up_to:
            return None
        if self.ladder.ones.get(atom):
            return None
        if any(abs(degree) != 1 for degree in generator.vector.values()) or atom in self.ladder.folds:
            return None
        batch = [other for other in generator.atoms if other is not atom]
        terms = [self.term(walk, number, degree, (*batch, atom)) for number, degree in generator.vector.items()]
        sizes = tuple((self.name[other], other.size) for other in batch)
        name = self.name[atom]
        return Linear(self.label((name,)), name, "general_linear", atom.size, sizes, tuple(terms))

    def orthogonal(self, atom: Axis) -> Linear | None:
        """O where only linear operations and norms meet a class, and gains that linear readers take up."""
        fixed = bool(self.ladder.ones.get(atom))
        if atom.frozen is not None or atom in self.ladder.broken or atom.size < 2 + fixed or atom not in self.sites:
            return None
        batch, folds = self.depends(atom), self.ladder.folds.get(atom, ())
        frames: dict[tuple[Value, int], Frame] = {}
        for gain, plus, _, readers, offsets in folds:
            frames |= {reader: Frame(self.path[gain], reader[1], plus) for reader in readers}
            frames |= {(offset, 0): Frame(self.path[gain], 0, plus, inverse=True) for offset in offsets}
        gains = {fold.gain for fold in folds}
        ends = {*gains, *(leaf for leaf, _ in frames)}
        if folds and (batch or any(self.origins[leaf].lead is not None for leaf in ends)):
            return None
        terms = []
        for leaf, block, place in self.occurrences(atom):
            if leaf in gains:
                continue
            layout = self.axes.layout(leaf)
            where = {
                id(other): (axis, digit)
                for axis, number in enumerate(block)
                for digit, (other, _) in enumerate(layout[axis][number].factors)
            }
            term = self.at(leaf, block, 1, [*(where[id(other)] for other in batch), place])
            terms.append(term._replace(weight=frames.get((leaf, place[0]))))
        sizes = tuple((self.name[other], other.size) for other in batch)
        name = self.name[atom]
        return Linear(self.label((name,)), name, "orthogonal", atom.size, sizes, tuple(terms), fixed=fixed)

    def depends(self, atom: Axis) -> list[Axis]:
        """Atoms on which a permutation or matrix of this one may depend."""
        others = self.ladder.together.get(atom, set()) - {atom}
        return sorted((other for other in others if other in self.name), key=lambda other: self.name[other])

    def permutable(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """Classes that may be permuted, with what the permutation may depend on."""
        return {
            self.name[atom]: tuple((self.name[other], other.size) for other in self.depends(atom))
            for atom in self.sites
            if atom.frozen is None and atom.size > 1
        }

    def classes(self, groups: dict[Axis, str]) -> dict[str, Class]:
        found = {}
        for atom, places in self.sites.items():
            sites = []
            for leaf, place in places:
                spans = tuple(
                    self.span(m) for m in self.axes.layout(leaf)[place] if any(other is atom for other, _ in m.factors)
                )
                origin = self.origins[leaf]
                sites.append(Site(origin.path, place + (origin.lead is not None), spans, origin.lead))
            frozen = atom.frozen.why if atom.frozen is not None else ""
            found[self.name[atom]] = Class(
                atom.size, tuple(sites), groups.get(atom, "" if frozen else "symmetric"), frozen
            )
        return found

    def refusals(self) -> tuple[Refusal, ...]:
        """Primitives without a rule and layouts that did not fit, with what they froze."""
        frozen: dict[Any, list[Path]] = {}
        causes: dict[Any, Equation] = {}
        for atom, places in self.sites.items():
            cause = atom.frozen
            if cause is not None and cause.equation is not None:
                causes[cause.why, id(cause.equation)] = cause.equation
                frozen.setdefault((cause.why, id(cause.equation)), []).extend(self.path[leaf] for leaf, _ in places)
        result = []
        for key, leaves in frozen.items():
            why, equation = key[0], causes[key]
            if equation.name in RULES and (why == equation.name or why == "window") and why not in _ORDERED:
                continue  # a position that counts: nothing was given up
            result.append(Refusal(why, source_line(equation), tuple(dict.fromkeys(leaves))))
        return tuple(result)


# these look along the axis they freeze
_ORDERED = (
    "rev",
    "cumsum",
    "cummax",
    "cummin",
    "cumprod",
    "cumlogsumexp",
    "pad",
    "dynamic_slice",
    "dynamic_update_slice",
)


def _fresh(origin: Origin, axis: int, taken: set[str]) -> str:
    """A name from a leaf's path, not used yet; the axis tells the second of a leaf from the first."""
    parts = [str(part) for part in origin.path if part != "params"]
    base = "/".join(parts[:-1] or parts) + ("" if origin.lead is None else f"/{origin.lead}")
    names = itertools.chain((base, f"{base}[{axis}]"), (f"{base}[{axis}]#{count}" for count in itertools.count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
