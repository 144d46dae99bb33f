"""Axes as terms, and the equations that primitives set between them, solved by unification.

An axis is ``Atom(n) | Prod(outer .. inner) | Sum(segments)``. Two axes that must carry the same units are unified:
reshapes refine an atom to a product, slices and concatenations to a sum, everywhere at once. An atom that nothing
freezes is a class of interchangeable units.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Axis", "Cause", "Monomial", "concatenate", "freeze", "monomials", "product", "split", "unify"]


class Cause(NamedTuple):
    """Why an atom cannot be permuted: the primitive or place, and what about it."""

    why: str
    equation: Any = None


class Axis:
    """A node of a term; ``find`` follows what unification has linked."""

    __slots__ = ("children", "frozen", "kind", "link", "memo", "size")

    def __init__(self, size: int, kind: str = "atom", children: Sequence["Axis"] = ()) -> None:
        self.size, self.kind, self.children = size, kind, tuple(children)
        self.frozen: Cause | None = None
        self.link: Axis | None = None
        self.memo: tuple[Monomial, ...] | None = None

    def find(self) -> "Axis":
        """The node that stands for this one."""
        root = self
        while root.link is not None:
            root = root.link
        while self.link is not None:
            self.link, self = root, self.link
        return root


class Monomial(NamedTuple):
    """Entries ``offset + sum_k i_k stride_k`` of an axis, ``i_k`` the unit of the ``k``-th atom."""

    offset: int
    factors: tuple[tuple[Axis, int], ...]


def product(axes: Sequence[Axis]) -> Axis:
    """The axis that reshape makes of several, outer first."""
    real = [axis for axis in axes if axis.size != 1]
    if len(real) == 1:
        return real[0]
    size = 1
    for axis in axes:
        size *= axis.size
    return Axis(size, "prod", real) if real else Axis(1)


def concatenate(axes: Sequence[Axis]) -> Axis:
    """The axis of a concatenation."""
    real = [axis for axis in axes if axis.size]
    return real[0] if len(real) == 1 else Axis(sum(axis.size for axis in real), "sum", real)


def freeze(axis: Axis, cause: Cause) -> None:
    """Forbid every permutation of an axis; the first cause is kept."""
    axis = axis.find()
    if axis.frozen is not None:
        return
    axis.frozen = cause
    for child in axis.children:
        freeze(child, cause)


def split(axis: Axis, size: int, cause: Cause) -> tuple[Axis, Axis]:
    """Cut an axis after ``size`` entries; where units would be cut through, everything is frozen."""
    axis = axis.find()
    if size in (0, axis.size):
        empty = Axis(0)
        return (axis, empty) if size else (empty, axis)
    if axis.kind == "atom":
        left, right = Axis(size), Axis(axis.size - size)
        _refine(axis, "sum", (left, right))
        return left, right
    if axis.kind == "sum":
        return _split_sum(axis, size, cause)
    first, rest = axis.children[0], axis.children[1:]
    inner = axis.size // first.size
    if size % inner:
        freeze(axis, cause)
        return _frozen(size, cause), _frozen(axis.size - size, cause)
    left, right = split(first, size // inner, cause)
    return product((left, *rest)), product((right, *rest))


def _split_sum(axis: Axis, size: int, cause: Cause) -> tuple[Axis, Axis]:
    before, after, passed = [], [], 0
    for segment in _segments(axis):
        if passed + segment.size <= size:
            before.append(segment)
        elif passed >= size:
            after.append(segment)
        else:
            left, right = split(segment, size - passed, cause)
            before.append(left)
            after.append(right)
        passed += segment.size
    return concatenate(before), concatenate(after)


def unify(left: Axis, right: Axis, cause: Cause) -> None:
    """Make two axes carry the same units; where their layouts do not fit, both are frozen."""
    left, right = left.find(), right.find()
    if left is right or left.size != right.size:
        return
    if left.kind != "atom" and right.kind == "atom":
        left, right = right, left
    if left.kind == "atom":
        if left.frozen is not None:
            freeze(right, left.frozen)
        left.link = right
        return
    if left.kind == right.kind:
        fits = (_align_sums if left.kind == "sum" else _align_products)(left, right, cause)
    else:
        fits = _align_sum_product(*((left, right) if left.kind == "sum" else (right, left)), cause)
    left, right = left.find(), right.find()
    if not fits:
        freeze(left, cause)
        freeze(right, cause)
    elif left is not right:
        left.link = right


def monomials(axis: Axis) -> tuple[Monomial, ...]:
    """The blocks of an axis, once nothing is unified any more."""
    axis = axis.find()
    if axis.memo is None:
        axis.memo = tuple(_monomials(axis))
    return axis.memo


def _monomials(axis: Axis) -> list[Monomial]:
    if axis.kind == "atom":
        return [Monomial(0, ((axis, 1),) if axis.size > 1 else ())]
    result, offset = [], 0
    if axis.kind == "sum":
        for segment in axis.children:
            result += [Monomial(offset + inner, factors) for inner, factors in monomials(segment)]
            offset += segment.size
        return result
    result, size = [Monomial(0, ())], 1
    for child in reversed(axis.children):
        outer = [(start * size, [(atom, stride * size) for atom, stride in f]) for start, f in monomials(child)]
        result = [Monomial(start + offset, (*f, *factors)) for start, f in outer for offset, factors in result]
        size *= child.find().size
    return result


def _refine(axis: Axis, kind: str, children: Sequence[Axis]) -> None:
    axis.kind, axis.children = kind, tuple(children)
    if axis.frozen is not None:
        for child in children:
            freeze(child, axis.frozen)


def _frozen(size: int, cause: Cause) -> Axis:
    axis = Axis(size)
    axis.frozen = cause
    return axis


def _segments(axis: Axis) -> list[Axis]:
    axis = axis.find()
    return [part for child in axis.children for part in _segments(child)] if axis.kind == "sum" else [axis]


def _factors(axis: Axis) -> list[Axis]:
    axis = axis.find()
    if axis.kind == "prod":
        return [part for child in axis.children for part in _factors(child)]
    return [axis] if axis.size != 1 else []


def _align_sums(left: Axis, right: Axis, cause: Cause) -> bool:
    stacks = [_segments(left)[::-1], _segments(right)[::-1]]
    while stacks[0] and stacks[1]:
        a, b = stacks[0].pop(), stacks[1].pop()
        if a.size == b.size:
            unify(a, b, cause)
            continue
        longer, short, stack = (a, b, stacks[0]) if a.size > b.size else (b, a, stacks[1])
        head, tail = split(longer, short.size, cause)
        unify(head, short, cause)
        stack += _segments(tail)[::-1]
    return True


def _align_products(left: Axis, right: Axis, cause: Cause) -> bool:
    stacks = [_factors(left)[::-1], _factors(right)[::-1]]
    while stacks[0] and stacks[1]:
        a, b = stacks[0].pop(), stacks[1].pop()
        if a.size == b.size:
            unify(a, b, cause)
            continue
        larger, small, stack = (a, b, stacks[0]) if a.size > b.size else (b, a, stacks[1])
        if larger.size % small.size:
            return False
        rest = Axis(larger.size // small.size)
        unify(larger, Axis(larger.size, "prod", (small, rest)), cause)
        stack += _factors(rest)[::-1]
    return True


def _align_sum_product(total: Axis, prod: Axis, cause: Cause) -> bool:
    segments, (first, *rest) = _segments(total), _factors(prod)
    inner = prod.size // first.size
    chunks: list[list[Axis]] = [[]]
    for segment in segments:
        if sum(part.size for part in chunks[-1]) % inner == 0 and chunks[-1]:
            chunks.append([])
        chunks[-1].append(segment)
    sizes = [sum(part.size for part in chunk) for chunk in chunks]
    # one segment may hold several copies of the inner axes, and several segments one copy
    if any(len(chunk) > 1 and size != inner for chunk, size in zip(chunks, sizes, strict=True)):
        return False
    heads = [Axis(size // inner) for size in sizes]
    unify(first, Axis(first.size, "sum", heads), cause)
    for chunk, head in zip(chunks, heads, strict=True):
        unify(concatenate(chunk), product((head, *rest)), cause)
    return True
