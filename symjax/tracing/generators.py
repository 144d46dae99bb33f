"""From solved equations to generators: the unknowns nothing has solved, made local and written unit by unit.

A free unknown of type S (a set of atoms) is a family of scalings by functions on S with mean zero along each atom.
Where the same coefficients also solve the equations of every smaller set, the functions need no mean zero: one scaling
for each unit. What those do not cover of the smaller sets are generators of their own.
"""

import itertools
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from symjax.tracing.axes import Axis
from symjax.tracing.forms import Equations, Form
from symjax.tracing.units import Units
from symjax.tracing.walk import UnitsWalk

__all__ = ["Generator", "Touched", "generators"]

Vector = dict[int, int | Fraction]  # unknown -> coefficient
Kind = frozenset[int]  # identities of atoms


class Generator(NamedTuple):
    """A family of scalings, one for each setting of some atoms.

    Attributes:
      atoms: what the coordinates run over.
      vector: unknown -> degree, all of one type.
      centred: coordinates must have mean zero along each atom.
      up_to: "", "epsilon" or "mask".
    """

    atoms: tuple[Axis, ...]
    vector: Vector
    centred: bool
    up_to: str


def generators(walk: UnitsWalk) -> list[Generator]:
    """A basis of all solutions of a walk's equations, large types first."""
    space = _Space(walk)
    kinds: dict[Kind, list[int]] = {}
    for free in space.patterns:
        kinds.setdefault(space.kind(free), []).append(free)
    echelons = {kind: _Echelon(walk.system.modulus) for kind in kinds}
    marks = [(_forms(units), "epsilon") for _, units in walk.epsilons] + [
        (_forms(units), "mask") for units in walk.masks
    ]
    touched = Touched(walk.system, marks)
    result = []
    for kind in sorted(kinds, key=len, reverse=True):
        basis = [space.patterns[free] for free in kinds[kind] if echelons[kind].insert({free: 1})]
        for vector in _sparse(basis, walk.system.modulus):
            lifts = [space.restrict(vector, frozenset(smaller)) for smaller in _proper_subsets(kind)]
            whole = all(map(space.solves, lifts))
            if whole:
                for smaller, lift in zip(_proper_subsets(kind), lifts, strict=True):
                    echelons[frozenset(smaller)].insert({u: c for u, c in lift.items() if u in space.patterns})
            result.append(Generator(space.atoms(vector), vector, not whole, " and ".join(sorted(touched.by(vector)))))
    return result


def _proper_subsets(kind: Kind) -> list[tuple[int, ...]]:
    return [chosen for size in range(len(kind)) for chosen in itertools.combinations(sorted(kind), size)]


class _Space:
    """The solutions: for each free unknown, what it moves."""

    def __init__(self, walk: UnitsWalk) -> None:
        self.walk, self.modulus = walk, walk.system.modulus
        self.patterns: dict[int, Vector] = {}
        for number in range(walk.system.count):
            for free, coefficient in walk.system.reduce({number: 1}).items():
                self.patterns.setdefault(free, {})[number] = coefficient
        self.index = {
            (id(u.leaf), u.block, frozenset(code for code, _ in u.chosen), u.weight): number
            for number, u in enumerate(walk.unknowns)
        }

    def kind(self, unknown: int) -> Kind:
        return frozenset(id(atom) for _, atom in self.walk.unknowns[unknown].chosen)

    def atoms(self, vector: Vector) -> tuple[Axis, ...]:
        return tuple(atom for _, atom in self.walk.unknowns[min(vector)].chosen)

    def restrict(self, vector: Vector, kind: Kind) -> Vector:
        """The same coefficients on functions of fewer atoms."""
        found: Vector = {}
        for unknown, coefficient in vector.items():
            leaf, block, chosen, weight = self.walk.unknowns[unknown]
            codes = frozenset(code for code, atom in chosen if id(atom) in kind)
            number = self.index[id(leaf), block, codes, weight]
            # a leaf with one atom on two axes is met twice
            total = found.get(number, 0) + coefficient
            found[number] = total % self.modulus if self.modulus else total
        return {number: coefficient for number, coefficient in found.items() if coefficient}

    def solves(self, vector: Vector) -> bool:
        """Whether a vector satisfies every equation."""
        total: Vector = {}
        for unknown, coefficient in vector.items():
            for number, value in self.patterns.get(unknown, {}).items():
                total[number] = total.get(number, 0) + coefficient * value
        differences = (total.get(number, 0) - vector.get(number, 0) for number in total.keys() | vector.keys())
        return not any(difference % self.modulus if self.modulus else difference for difference in differences)


class _Echelon:
    """Vectors known to be independent, by pivot."""

    def __init__(self, modulus: int | None) -> None:
        self.modulus = modulus
        self.rows: dict[int, Vector] = {}

    def insert(self, vector: Vector) -> bool:
        """Add a vector; False if it depends on those before."""
        vector = dict(vector)
        while vector:
            pivot = max(vector)
            if pivot not in self.rows:
                self.rows[pivot] = vector
                return True
            vector = _subtract(vector, self.rows[pivot], pivot, self.modulus)
        return False


def _subtract(vector: Vector, other: Vector, pivot: int, modulus: int | None) -> Vector:
    """Remove the entry at ``pivot`` by a multiple of another vector."""
    lead = other[pivot]
    factor = vector[pivot] * lead if lead in (1, -1) else Fraction(vector[pivot]) / lead
    result = dict(vector)
    for unknown, coefficient in other.items():
        value = result.get(unknown, 0) - factor * coefficient
        value = value % modulus if modulus else value
        if value:
            result[unknown] = value.numerator if value.denominator == 1 else value
        else:
            result.pop(unknown, None)
    return result


def _sparse(basis: Sequence[Vector], modulus: int | None) -> list[Vector]:
    """Shorten the vectors of a small basis by each other; the oldest unknown gets degree one."""
    basis = list(basis)
    owners: dict[int, set[int]] = {}
    for number, vector in enumerate(basis):
        for unknown in vector:
            owners.setdefault(unknown, set()).add(number)
    for number in range(len(basis)):
        neighbours = set().union(*(owners[unknown] for unknown in basis[number]))
        for other in sorted(neighbours - {number}) if len(neighbours) < 20 else ():
            common = basis[number].keys() & basis[other].keys()
            tries = [_subtract(basis[number], basis[other], unknown, modulus) for unknown in common]
            shortest = min(tries, key=len, default=basis[number])
            if len(shortest) < len(basis[number]):
                for unknown in shortest:
                    owners.setdefault(unknown, set()).add(number)
                basis[number] = shortest
    return [_monic(vector, modulus) for vector in basis]


def _monic(vector: Vector, modulus: int | None) -> Vector:
    lead = vector[min(vector)]
    if lead == 1 or modulus:
        return vector
    scaled = {unknown: Fraction(coefficient) / lead for unknown, coefficient in vector.items()}
    return {unknown: value.numerator if value.denominator == 1 else value for unknown, value in scaled.items()}


def _forms(units: Units) -> list[Form]:
    return [form for component in units.blocks.values() if component for form in component.values()]


class Touched:
    """Which generators move a tensor that something is noted of: an epsilon is added to it, a leaf takes it up."""

    def __init__(self, system: Equations, marks: Iterable[tuple[Iterable[Form], Hashable]]) -> None:
        self.by_unknown: dict[int, list[tuple[Form, Hashable]]] = {}
        for forms, note in marks:
            for form in forms:
                reduced = system.reduce(form)
                for unknown in reduced:
                    self.by_unknown.setdefault(unknown, []).append((reduced, note))

    def by(self, vector: Vector) -> set[Hashable]:
        """The notes of what a generator moves."""
        found = set()
        for unknown in vector:
            for form, note in self.by_unknown.get(unknown, ()):
                if note not in found and sum(c * vector.get(other, 0) for other, c in form.items()):
                    found.add(note)
        return found
