"""The ladder: on which classes a matrix may act, because every operation that meets them is linear.

One more walk, over sets of atoms: which atoms each value varies along, and which atoms meet an operation that is not
linear in them. A contraction of units, and the sum of their squares, are as good for orthogonal matrices as a linear
operation; with a scaling of degrees +1 and -1 they are contractions of a space with its dual, good for all matrices.
"""

import itertools
from collections import Counter

from symjax.tracing.axes import Axis, monomials
from symjax.tracing.constants import any_degree, varies
from symjax.tracing.fold import Fold, fold
from symjax.tracing.program import Equation, Value
from symjax.tracing.walk import AxesWalk, Rule

__all__ = [
    "Ladder",
    "climb",
    "contract",
    "convolve",
    "divide",
    "gathered",
    "moves",
    "multiply",
    "reduce",
    "select",
    "squared",
    "sums",
]

Atoms = frozenset[Axis]


class Ladder:
    """What is known of each atom after the walk.

    Attributes:
      broken: atom -> the first equation that is not linear in it.
      ones: atom -> equations that sum along it, or add what is the same for all: the vector of ones must stay.
      folds: atom -> gains along it, taken up by the kernels behind them.
      together: atom -> atoms present, once, in every block that varies along it: a group element may depend on them.
    """

    def __init__(self, axes: AxesWalk) -> None:
        self.axes = axes
        self.broken: dict[Axis, Equation] = {}
        self.ones: dict[Axis, set[int]] = {}
        self.together: dict[Axis, set[Axis]] = {}
        self.folds: dict[Axis, list[Fold]] = {}
        self.leaves = set(axes.program.leaves)
        self.makers = {out: equation for equation in axes.program.equations for out in equation.outputs}
        self._carried: dict[Value, Atoms] = {}
        self._held: dict[tuple[Axis, ...], list[tuple[Atoms, Atoms]]] = {}
        self._squares: set[Value] = set()
        self.readers: dict[Value, list[Equation]] = {}
        for equation in axes.program.equations:
            for value in equation.inputs:
                self.readers.setdefault(value, []).append(equation)
        for value in (*axes.program.leaves, *axes.program.inputs):
            if value in self.readers:
                self.carry(value, self.atoms(value))

    def blocks(self, value: Value) -> list[tuple[Atoms, Atoms]]:
        """Atoms of each block of a value, and those of them that are on it more than once."""
        axes = tuple(axis.find() for axis in self.axes.axes[value])
        if axes not in self._held:
            columns = [[tuple(atom for atom, _ in m.factors) for m in monomials(axis)] for axis in axes]
            self._held[axes] = []
            for block in set(itertools.product(*map(set, columns))):
                counts = Counter(itertools.chain(*block))
                self._held[axes].append((frozenset(counts), frozenset(a for a, n in counts.items() if n > 1)))
        return self._held[axes]

    def atoms(self, value: Value) -> Atoms:
        """All atoms of a value's axes."""
        return frozenset().union(*(block for block, _ in self.blocks(value)))

    def of(self, value: Value) -> Atoms:
        """Atoms a value varies along."""
        return frozenset() if value.constant is not None else self._carried[value]

    def walked(self, value: Value) -> bool:
        """Whether the walk has come past a value."""
        return value.constant is not None or value in self._carried

    def on(self, value: Value, axis: int) -> Atoms:
        """Atoms of one axis that the value varies along."""
        if value.constant is not None:
            return frozenset()
        held = frozenset(atom for m in monomials(self.axes.axes[value][axis]) for atom, _ in m.factors)
        return held & self._carried[value]

    def carry(self, value: Value, atoms: Atoms) -> None:
        """Note what a value varies along."""
        self._carried[value] = atoms
        if atoms:
            for block, repeated in self.blocks(value):
                varied = block & atoms
                once = varied - repeated  # of an atom that is there twice, which one goes with another is not known
                for atom in varied:
                    known = self.together.setdefault(atom, set(once))
                    if known - {atom}:
                        known &= once

    def keep_ones(self, equation: Equation, atoms: Atoms) -> None:
        """Note an operation that is linear, but needs the vector of ones."""
        for atom in atoms:
            self.ones.setdefault(atom, set()).add(id(equation))

    def break_at(self, equation: Equation, atoms: Atoms) -> None:
        """Note an operation that is not linear."""
        for atom in atoms:
            self.broken.setdefault(atom, equation)


def climb(axes: AxesWalk, rules: dict[str, Rule]) -> Ladder:
    """Walk over the program; a primitive without a rule is linear in nothing."""
    ladder = Ladder(axes)
    for equation in axes.program.equations:
        rule = rules.get(equation.name)
        if rule is None or rule.linear is None:
            for value in equation.inputs:
                ladder.break_at(equation, ladder.of(value))
        else:
            rule.linear(ladder, equation)
        varied = frozenset().union(*map(ladder.of, equation.inputs))
        known = frozenset().union(*(ladder.atoms(value) for value in equation.inputs if value.constant is None))
        for out in equation.outputs:
            # an axis that begins here is one of positions, but for a broadcast one
            new = frozenset() if equation.name == "broadcast_in_dim" else ladder.atoms(out) - known
            ladder.carry(out, (varied & ladder.atoms(out)) | new | _constants(ladder, equation, out))
    return ladder


def _constants(ladder: Ladder, equation: Equation, out: Value) -> Atoms:
    """Atoms that a constant operand makes the output vary along: its own axes' where it has the output's rank."""
    found: set[Axis] = set()
    for value in equation.inputs:
        if value.constant is None or not value.shape:
            continue
        if len(value.shape) != len(out.shape):
            return ladder.atoms(out)
        for axis, size in enumerate(value.shape):
            if size > 1 and (size != out.shape[axis] or varies(value.constant, axis)):
                found |= {atom for m in monomials(ladder.axes.axes[out][axis]) for atom, _ in m.factors}
    return frozenset(found)


def moves(ladder: Ladder, equation: Equation) -> None:
    """Entries are moved, or multiplied by a number: linear."""


def sums(ladder: Ladder, equation: Equation, operands: tuple[Value, ...] = ()) -> None:
    """A sum is linear if every summand varies along the atom, or is zero; else it keeps what keeps ones."""
    operands = operands or equation.inputs
    varied = frozenset().union(*map(ladder.of, operands))
    for value in operands:
        if value.constant is None or any_degree(value.constant) != "zero":
            ladder.keep_ones(equation, varied - ladder.of(value))


def select(ladder: Ladder, equation: Equation) -> None:
    """A choice between summands by a predicate that does not vary along the atom."""
    ladder.break_at(equation, ladder.of(equation.inputs[0]))
    sums(ladder, equation, equation.inputs[1:])


def multiply(ladder: Ladder, equation: Equation) -> None:
    """A product is linear if one factor varies along the atom, or is a gain that linear readers take up.

    A square by itself is one for the sum of squares.
    """
    left, right = equation.inputs
    if left is right:
        return squared(ladder, equation)
    for atom in ladder.of(left) & ladder.of(right):
        if (gain := fold(ladder, equation, atom)) is not None:
            ladder.folds.setdefault(atom, []).append(gain)
            ladder.ones.get(atom, set()).difference_update(gain.inside)
        else:
            ladder.break_at(equation, frozenset((atom,)))
    return None


def divide(ladder: Ladder, equation: Equation) -> None:
    """A quotient is linear above."""
    ladder.break_at(equation, ladder.of(equation.inputs[1]))


def squared(ladder: Ladder, equation: Equation) -> None:
    """Squares that are only summed over the whole axis make a norm, which orthogonal matrices keep."""
    (out,) = equation.outputs
    value, readers = equation.inputs[0], ladder.readers.get(out, [])
    if equation.params.get("y", 2) != 2 or any(reader.name != "reduce_sum" for reader in readers):
        return ladder.break_at(equation, ladder.of(value))
    kept = [
        frozenset().union(*(ladder.on(value, k) for k in range(len(value.shape)) if k not in reader.params["axes"]))
        for reader in readers
    ]
    ladder.break_at(equation, frozenset().union(*kept))
    ladder._squares.add(out)
    return None


def reduce(ladder: Ladder, equation: Equation) -> None:
    """A plain sum contracts with ones, which some orthogonal matrices keep; a sum of squares is a norm."""
    value = equation.inputs[0]
    if value not in ladder._squares:
        for axis in equation.params["axes"]:
            ladder.keep_ones(equation, ladder.on(value, axis))


def contract(ladder: Ladder, equation: Equation) -> None:
    """A contraction is linear where both factors vary, a batch axis where one does."""
    (lhs_sum, rhs_sum), (lhs_batch, rhs_batch) = equation.params["dimension_numbers"]
    left, right = equation.inputs
    for a, b in zip(lhs_sum, rhs_sum, strict=True):
        ladder.break_at(equation, ladder.on(left, a) ^ ladder.on(right, b))
    for a, b in zip(lhs_batch, rhs_batch, strict=True):
        ladder.break_at(equation, ladder.on(left, a) & ladder.on(right, b))


def convolve(ladder: Ladder, equation: Equation) -> None:
    """A contraction over the input channels, with the groups as a batch axis."""
    note = ladder.axes.notes.get(id(equation))
    if note is None:
        for value in equation.inputs:
            ladder.break_at(equation, ladder.of(value))
        return
    groups, inner, _ = ({atom for m in monomials(axis) for atom, _ in m.factors} for axis in note)
    left, right = map(ladder.of, equation.inputs)
    ladder.break_at(equation, (left & right & groups) | ((left ^ right) & inner))


def gathered(ladder: Ladder, equation: Equation) -> None:
    """Rows are looked up: linear along them."""
    ladder.break_at(equation, ladder.of(equation.inputs[1]))
