"""What was found, in words that need no jaxpr: classes, scalings, signs, linear groups, and what was refused."""

import itertools
from fractions import Fraction
from math import prod
from typing import Any, NamedTuple

__all__ = [
    "Class",
    "Digit",
    "Frame",
    "Layout",
    "Layouts",
    "Linear",
    "Path",
    "Place",
    "Refusal",
    "Scaling",
    "Shift",
    "Sign",
    "Site",
    "Span",
    "Term",
    "joined",
]

Path = tuple[str | int, ...]


class Digit(NamedTuple):
    """An index within a span: of a class (by name), with its size and its stride along the axis."""

    name: str
    size: int
    stride: int


class Span(NamedTuple):
    """Entries ``offset + sum_k i_k stride_k`` of an axis, one for each setting of the digits."""

    offset: int
    digits: tuple[Digit, ...]


class Place(NamedTuple):
    """A block of a leaf: one span for each axis, and the lengths of the axes."""

    path: Path
    spans: tuple[Span, ...]
    shape: tuple[int, ...] = ()


class Site(NamedTuple):
    """One axis of a leaf, or of one entry of a stack, where the units of a class appear; the spans hold them."""

    path: Path
    axis: int
    spans: tuple[Span, ...]
    lead: int | None = None


class Class(NamedTuple):
    """Units that are interchangeable, or at least scaled one by one.

    Attributes:
      size: how many.
      sites: where they appear.
      group: what acts on them: "general_linear", "orthogonal", "symmetric" (permutations), "" nothing but scalings.
      frozen: why they cannot be permuted; empty where they can.
    """

    size: int
    sites: tuple[Site, ...]
    group: str
    frozen: str = ""


class Frame(NamedTuple):
    """What a matrix acts in: of a reader multiplied by ``plus`` and a gain along an axis, or of a bias divided."""

    gain: Path
    axis: int
    plus: float = 0.0
    inverse: bool = False


class Term(NamedTuple):
    """Where a generator acts: a place, a degree, and the (axis, digit) that each index of its coordinates runs on."""

    place: Place
    degree: int | Fraction
    along: tuple[tuple[int, int], ...]
    # of a translation (gain, axis, kind): by a multiple of 1/gain, at most one
    weight: tuple[Any, int, int] | Frame | None = None


def joined(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Join the terms that do the same to all entries of an axis, as to the taps of a kernel that is read tap by tap."""
    for axis in range(max((len(term.place.shape) for term in terms), default=0)):
        groups: dict[Any, list[Term]] = {}
        for term in terms:
            cut = axis < len(term.place.spans) and not term.place.spans[axis].digits
            rest = (*term.place.spans[:axis], *term.place.spans[axis + 1 :]) if cut else term.place.spans
            groups.setdefault((term.place.path, cut, rest, *term[1:]), []).append(term)
        terms = tuple(one for held in groups.values() for one in _whole(held, axis))
    return terms


def _whole(terms: list[Term], axis: int) -> list[Term]:
    """The one term that a group is which tiles an axis entry by entry; otherwise the group."""
    place = terms[0].place
    if len(terms) == 1 or len({term.place.spans[axis].offset for term in terms}) < place.shape[axis]:
        return terms
    span = Span(0, (Digit("", place.shape[axis], 1),))
    return [terms[0]._replace(place=place._replace(spans=(*place.spans[:axis], span, *place.spans[axis + 1 :])))]


class Scaling(NamedTuple):
    """A family of positive scalings: a place is multiplied by ``exp(degree * s)``.

    Attributes:
      name: its own.
      over: classes the coordinates run over; empty for a single number.
      shape: of the coordinates.
      terms: where it acts.
      centred: coordinates count up to their means along each index, which are removed.
      up_to: what breaks it: "epsilon" of a normalisation, "mask" a large finite number in place of minus infinity.
    """

    name: str
    over: tuple[str, ...]
    shape: tuple[int, ...]
    terms: tuple[Term, ...]
    centred: bool = False
    up_to: str = ""

    @property
    def dimension(self) -> int:
        """Number of independent coordinates."""
        return prod(size - self.centred for size in self.shape)


class Sign(NamedTuple):
    """A family of sign changes: each place is multiplied by one sign for each setting of ``over``."""

    name: str
    over: tuple[str, ...]
    shape: tuple[int, ...]
    terms: tuple[Term, ...]


class Shift(NamedTuple):
    """A family of translations: ``degree * u`` is added to each place, and what that changes is absorbed.

    Attributes:
      name: its own.
      over: classes the coordinates run over.
      shape: of the coordinates.
      terms: where it acts by itself.
      absorbed: leaves that take up what would change behind, by an amount that depends on the other parameters.
      centred: as for a scaling.
      up_to: as for a scaling.
    """

    name: str
    over: tuple[str, ...]
    shape: tuple[int, ...]
    terms: tuple[Term, ...]
    absorbed: tuple[Path, ...] = ()
    centred: bool = False
    up_to: str = ""

    @property
    def dimension(self) -> int:
        """Number of independent coordinates."""
        return prod(size - self.centred for size in self.shape)


class Linear(NamedTuple):
    """A matrix group on the units of a class: places of variance +1 by g, of -1 by its inverse transpose.

    Attributes:
      name: its own.
      over: the class.
      group: "general_linear" or "orthogonal".
      size: of the matrices.
      batch: classes the matrix depends on, one matrix for each setting, and their sizes.
      terms: where it acts; ``along`` names the batch indices first, the class last; the degree is the variance.
    """

    name: str
    over: str
    group: str
    size: int
    batch: tuple[tuple[str, int], ...]
    terms: tuple[Term, ...]
    scaling: str = ""  # the name of the scaling that it contains
    fixed: bool = False  # the matrices leave the vector of ones as it is

    @property
    def diagonal(self) -> int:
        """Dimension of the scalings it contains."""
        count = self.size if self.group == "general_linear" else 0
        for _, size in self.batch:
            count *= size
        return count

    @property
    def dimension(self) -> int:
        """Dimension of the group."""
        size = self.size - self.fixed
        count = size**2 if self.group == "general_linear" else size * (size - 1) // 2
        for _, size in self.batch:
            count *= size
        return count


class Refusal(NamedTuple):
    """A primitive that could not be followed, where the user wrote it, and the leaves it froze."""

    primitive: str
    source: str
    leaves: tuple[Path, ...]


class Layout(NamedTuple):
    """How the axes of a leaf, or of one entry of a stack of layers, are cut.

    Attributes:
      path: of the leaf.
      columns: spans of each axis; without the first one if it is a stack's.
      shape: of the whole leaf.
      lead: which entry of the stack; None for a leaf as it is.
    """

    path: Path
    columns: tuple[tuple[Span, ...], ...]
    shape: tuple[int, ...]
    lead: int | None = None

    def places(self) -> list[Place]:
        """All blocks."""
        first = () if self.lead is None else (Span(self.lead, ()),)
        return [Place(self.path, (*first, *spans), self.shape) for spans in itertools.product(*self.columns)]


Layouts = tuple[Layout, ...]
