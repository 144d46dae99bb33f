"""Units: how each entry of each tensor is multiplied by a symmetry, as linear forms in the unknowns of the leaves.

The logarithm of a factor on a tensor is a function of its indices; it splits into one component for every set of atoms
it varies over (mean zero in each), and all equations hold component by component (Schur's lemma). So a tensor has, for
each block (a monomial an axis) and each set of index positions, one linear form; forms that are zero are left out. A
block of None has any units: it holds zeros or infinities.
"""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from symjax.tracing.axes import Monomial
from symjax.tracing.forms import Equations, Form

__all__ = [
    "ANY",
    "CONSTANT",
    "ONE",
    "Layout",
    "Part",
    "Units",
    "assemble",
    "combine",
    "equate",
    "fits",
    "flat",
    "regroup",
    "scale",
    "select",
    "uniform",
    "vanish",
]

_WIDTH = 16  # atoms an axis may be a product of

Layout = tuple[tuple[Monomial, ...], ...]
Positions = frozenset[int]  # axis * _WIDTH + place of the atom in the monomial
Component = dict[Positions, Form]


class Units(NamedTuple):
    """Units of a tensor: by block, the non-zero components; None is any."""

    blocks: Mapping[tuple[int, ...], Component | None]


class Part(NamedTuple):
    """A factor of a product: its units, a name for each of its axes (None: length one, broadcast), an exponent."""

    units: Units
    names: tuple[Hashable, ...]
    exponent: int | Fraction = 1


ONE = (Monomial(0, ()),)  # an axis of length one
CONSTANT = Units({})  # no units anywhere: constants and inputs; understood in every layout
ANY = Units({(): None})  # zeros


def position(axis: int, place: int) -> int:
    """Code of the atom at a place of an axis."""
    return axis * _WIDTH + place


def block_of(units: Units, block: tuple[int, ...]) -> Component | None:
    """Component of a block."""
    if units is ANY:
        return None
    return units.blocks.get(block, {})


def combine(
    system: Equations,
    parts: Sequence[Part],
    layouts: Mapping[Hashable, tuple[Monomial, ...]],
    out: Sequence[Hashable],
    summed: Sequence[Hashable] = (),
) -> Units:
    """Units of ``prod_k part_k ** exponent_k`` summed over some axes: they may not vary along those.

    Args:
      system: where the equations go.
      parts: the factors.
      layouts: monomials of every named axis.
      out: names of the result's axes; names no part has are broadcast.
      summed: names of the axes summed over.
    """
    if any(part.units is ANY for part in parts):
        return ANY
    if all(part.units is CONSTANT for part in parts):
        return CONSTANT
    if len(parts) == 1 and not summed and parts[0].exponent == 1:
        return _renamed(parts[0], layouts, out)
    order = {name: number for number, name in enumerate(out)}
    order.update({name: len(out) + number for number, name in enumerate(summed)})
    limit = len(out) * _WIDTH
    moved = [_Renaming([order.get(name, -1) for name in part.names]) for part in parts]
    sizes = [range(len(layouts[name])) for name in out]
    inner = list(itertools.product(*(range(len(layouts[name])) for name in summed)))
    blocks: dict[tuple[int, ...], Component | None] = {}
    for block in itertools.product(*sizes):
        total: Component | None = None
        for rest in inner:
            term = _product(system, parts, moved, (*block, *rest))
            if term is not None:
                kept = _summed(system, term, limit) if summed else term
                total = kept if total is None else _equal(system, total, kept)
        if total is None or total:
            blocks[block] = total
    return Units(blocks) if blocks else CONSTANT


def _renamed(part: Part, layouts: Mapping[Hashable, tuple[Monomial, ...]], out: Sequence[Hashable]) -> Units:
    """One factor by itself: its blocks, repeated along the axes that it does not have."""
    order = {name: number for number, name in enumerate(out)}
    moved = _Renaming([order.get(name, -1) for name in part.names])
    held = {axis: number for number, axis in enumerate(moved.axes) if axis >= 0}
    free = [(0,) if axis in held else range(len(layouts[name])) for axis, name in enumerate(out)]
    blocks: dict[tuple[int, ...], Component | None] = {}
    for block, component in part.units.blocks.items():
        if any(index and axis < 0 for index, axis in zip(block, moved.axes, strict=True)):
            continue
        if component is not None and not moved.same:
            component = {moved.positions(codes): form for codes, form in component.items()}
        for rest in itertools.product(*free):
            blocks[tuple(block[held[axis]] if axis in held else index for axis, index in enumerate(rest))] = component
    return Units(blocks) if blocks else CONSTANT


class _Renaming:
    """Codes of a part's axes as codes of the result's."""

    def __init__(self, axes: list[int]) -> None:
        self.axes = axes
        self.same = all(axis in (place, -1) for place, axis in enumerate(axes))
        self.known: dict[Positions, Positions] = {}

    def block(self, index: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(0 if axis < 0 else index[axis] for axis in self.axes)

    def positions(self, codes: Positions) -> Positions:
        if self.same or not codes:
            return codes
        if codes not in self.known:
            self.known[codes] = frozenset(self.axes[code // _WIDTH] * _WIDTH + code % _WIDTH for code in codes)
        return self.known[codes]


def _product(
    system: Equations, parts: Sequence[Part], moved: Sequence[_Renaming], index: tuple[int, ...]
) -> Component | None:
    total: Component = {}
    for part, renaming in zip(parts, moved, strict=True):
        component = block_of(part.units, renaming.block(index))
        if component is None:
            return None
        for codes, form in component.items():
            new = renaming.positions(codes)
            value = system.add(total.get(new, {}), form, part.exponent)
            if value:
                total[new] = value
            else:
                total.pop(new, None)
    return total


def _summed(system: Equations, component: Component, limit: int) -> Component:
    kept = {}
    for codes, form in component.items():
        if any(code >= limit for code in codes):
            system.zero(form)
        elif reduced := system.reduce(form):
            kept[codes] = reduced
    return kept


def _equal(system: Equations, left: Component, right: Component) -> Component:
    if left is right:
        return left
    for codes in left.keys() | right.keys():
        system.equal(left.get(codes, {}), right.get(codes, {}))
    return {codes: reduced for codes, form in left.items() if (reduced := system.reduce(form))}


def equate(system: Equations, left: Units, right: Units, layout: Layout) -> Units:
    """Require two tensors of one layout to have the same units; blocks of any units take the other's."""
    if left is right or right is ANY:
        return left
    if left is ANY:
        return right
    blocks: dict[tuple[int, ...], Component | None] = {}
    if left is CONSTANT and None not in right.blocks.values():
        keys = right.blocks.keys()
    elif None in left.blocks.values() or None in right.blocks.values():
        keys = itertools.product(*(range(len(axis)) for axis in layout))
    else:
        keys = left.blocks.keys() | right.blocks.keys()
    for block in keys:
        a, b = left.blocks.get(block, {}), right.blocks.get(block, {})
        found = b if a is None else a if b is None else _equal(system, a, b)
        if found is None or found:
            blocks[block] = found
    return Units(blocks) if blocks else CONSTANT


def scale(system: Equations, units: Units, factor: int | Fraction) -> Units:
    """Units of a power."""
    if units in (ANY, CONSTANT) or factor == 1:
        return units
    blocks = {
        block: component
        if component is None
        else {codes: system.add({}, form, factor) for codes, form in component.items()}
        for block, component in units.blocks.items()
    }
    blocks = {
        block: None if component is None else {codes: form for codes, form in component.items() if form}
        for block, component in blocks.items()
    }
    return Units({block: component for block, component in blocks.items() if component is None or component})


def vanish(system: Equations, units: Units) -> None:
    """Require a tensor to have no units."""
    if units is ANY:
        return
    for component in units.blocks.values():
        for form in (component or {}).values():
            system.zero(form)


def fits(left: Layout, right: Layout) -> bool:
    """Whether two lists of axes are cut into the same monomials."""
    return all(a is b or a == b for a, b in zip(left, right, strict=True))


def regroup(
    system: Equations, units: Units, before: Sequence[Layout], shape: Sequence[int], after: Layout, new: Sequence[int]
) -> Units:
    """Units after a reshape: blocks are matched as sets of entries in row-major order, else made uniform."""
    if units in (ANY, CONSTANT):
        return units
    olds, news = flat(before, shape), flat(after, new)
    if olds.keys() != news.keys():
        return uniform(system, units, before, after)
    blocks: dict[tuple[int, ...], Component | None] = {}
    for entries, (block, places) in olds.items():
        component = units.blocks.get(block, {})
        target, codes = news[entries]
        if component is None:
            blocks[target] = None
        elif component:
            names = dict(zip(places, codes, strict=True))
            blocks[target] = {frozenset(names[c] for c in key): form for key, form in component.items()}
    return Units(blocks) if blocks else CONSTANT


def uniform(system: Equations, units: Units, before: Layout, after: Layout) -> Units:
    """Require the same units of all entries, in a new layout."""
    axes = range(len(before))
    scalar = combine(system, [Part(units, tuple(axes))], dict(enumerate(before)), (), tuple(axes))
    if scalar in (ANY, CONSTANT):
        return scalar
    return combine(system, [Part(scalar, ())], dict(enumerate(after)), tuple(range(len(after))))


def flat(layout: Layout, shape: Sequence[int]) -> dict[tuple, tuple[tuple[int, ...], list[int]]]:
    """Every block by its set of entries in row-major order, with its index and the codes of its atoms."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    found = {}
    for block in itertools.product(*(range(len(axis)) for axis in layout)):
        offset, factors, codes = 0, [], []
        for axis, number in enumerate(block):
            start, atoms = layout[axis][number]
            offset += start * strides[axis]
            for place, (atom, stride) in enumerate(atoms):
                factors.append((id(atom), stride * strides[axis]))
                codes.append(position(axis, place))
        found[offset, tuple(factors)] = (block, codes)
    return found


def assemble(
    system: Equations, pieces: Sequence[tuple[Units, Layout | None, int, int]], axis: int, after: Layout
) -> Units:
    """Units of pieces (units, layout, start, size) laid side by side along an axis; ``after`` is the result's layout.

    A piece without a layout is a constant.
    """
    blocks: dict[tuple[int, ...], Component | None] = {}
    others = [range(len(column)) for place, column in enumerate(after) if place != axis]
    for units, layout, start, size in pieces:
        inside = [n for n, monomial in enumerate(after[axis]) if start <= monomial.offset < start + size]
        if units is ANY:
            for number in inside:
                for rest in itertools.product(*others):
                    blocks[(*rest[:axis], number, *rest[axis:])] = None
        if layout is None or units in (ANY, CONSTANT):
            continue
        target = tuple(
            tuple(Monomial(m.offset - start, m.factors) for n, m in enumerate(column) if n in inside)
            if place == axis
            else column
            for place, column in enumerate(after)
        )
        if not fits(layout, target):
            return combine_all(system, pieces, after)
        for block, component in units.blocks.items():
            blocks[(*block[:axis], inside[block[axis]], *block[axis + 1 :])] = component
    return Units(blocks) if blocks else CONSTANT


def combine_all(system: Equations, pieces: Sequence[tuple[Units, Layout | None, int, int]], after: Layout) -> Units:
    """Fallback where layouts do not fit: all pieces have the same uniform units."""
    total = ANY
    for units, layout, _, _ in pieces:
        total = equate(system, total, units if layout is None else uniform(system, units, layout, after), after)
    return total


def select(system: Equations, units: Units, before: Layout, axis: int, start: int, after: Layout) -> Units:
    """Units of the entries of an axis from ``start`` on that ``after`` holds."""
    if units in (ANY, CONSTANT):
        return units
    numbers = {monomial: number for number, monomial in enumerate(before[axis])}
    found = [numbers.get(Monomial(monomial.offset + start, monomial.factors)) for monomial in after[axis]]
    rest = [(a, b) for place, (a, b) in enumerate(zip(before, after, strict=True)) if place != axis]
    if None in found or not all(a == b for a, b in rest):
        return uniform(system, units, before, after)
    places = {number: place for place, number in enumerate(found)}
    blocks = {
        (*block[:axis], places[block[axis]], *block[axis + 1 :]): component
        for block, component in units.blocks.items()
        if block[axis] in places
    }
    return Units(blocks) if blocks else CONSTANT
