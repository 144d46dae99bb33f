"""One small network for each mechanism that makes a hidden symmetry, with the dimension it leaves.

The numbers are hand-picked; whatever is not the mechanism is in general position, so that the network without it has
the bound. :func:`mechanism_examples` lists them; ``drop`` follows from a formula of the mechanism, ``dimension`` is the
bound less the drop.
"""

from typing import Any, NamedTuple

import numpy as np

from symjax.dimension.networks import as_params, bound, widths

__all__ = ["MechanismExample", "always_on_drop", "mechanism_examples", "pruned_drop"]

Layer = tuple[Any, Any]


class MechanismExample(NamedTuple):
    """A network with a known hidden symmetry.

    Attributes:
      row: of the table of mechanisms.
      mechanism: in words.
      params: the network.
      drop: how many dimensions the mechanism takes off the bound.
      by: the mechanisms by which :func:`~symjax.dimension.mechanisms.explain` accounts for the drop.
    """

    row: str
    mechanism: str
    params: list[tuple[np.ndarray, np.ndarray]]
    drop: int
    by: frozenset[str]

    @property
    def dimension(self) -> int:
        """The functional dimension."""
        return bound(widths(self.params)) - self.drop


def pruned_drop(sizes: tuple[int, ...], off: dict[int, int]) -> int:
    """Drop by units that are never on: the bound less that of the network without them.

    Source: this library's own, from the definition of the bound.

    Args:
      sizes: (n_0, ..., n_d).
      off: how many units of each hidden layer (1 for the first) are off.

    Returns:
      An integer; where a whole layer is off, only the constants of the output are left.

    Example:
      >>> pruned_drop((2, 3, 3, 1), {2: 1}), pruned_drop((2, 3, 3, 1), {2: 3})
      (4, 18)
    """
    left = [size - off.get(layer, 0) for layer, size in enumerate(sizes)]
    return bound(sizes) - (bound(left) if all(left) else sizes[-1])


def always_on_drop(count: int, below: int, above: int) -> int:
    """Drop by k units of one layer that are always on: ``k (n + n') - r (n + n' - r)``, ``r = min(k, n, n')``.

    They pass on an affine map of rank r; its factors are free up to an invertible matrix and a translation. For
    ``k <= n, n'`` this is k^2.

    Source: this library's own, from the dimension of the matrices of rank r.

    Args:
      count: k.
      below: width n of the layer below.
      above: width n' of the layer above.

    Example:
      >>> always_on_drop(2, 3, 3), always_on_drop(3, 3, 1)
      (4, 9)
    """
    rank = min(count, below, above)
    return count * (below + above) - rank * (below + above - rank)


FIRST = ([[1.0, 0.4], [-0.6, 0.9], [0.3, -1.1]], [0.3, -0.2, 0.25])  # a triangle of three lines
SECOND = ([[-0.4, 1.0, 0.4], [-0.6, 0.7, -1.5], [0.6, -0.6, 0.6]], [0.2, -0.4, 0.3])
MIXED = ([[0.9, -0.7, 0.5], [-0.4, 1.1, 0.6], [0.8, 0.5, -0.9]], [-0.35, -0.3, -0.2])
THIRD = ([[0.3, -0.6, 2.0], [0.8, -1.2, -1.0], [0.3, 0.3, -0.7]], [0.6, 0.0, -0.4])
LAST = ([[0.8, -1.1, 0.6]], [0.1])
ON = ([[0.5, 0.8, 0.6], [0.9, 0.3, 0.7], [0.4, 0.6, 1.0]], [0.4, 0.3, 0.5])  # rows that are on wherever they look


def _with(layer: Layer, rows: dict[int, tuple[list[float], float]]) -> Layer:
    """A layer with some of its units replaced."""
    w, b = np.array(layer[0]), np.array(layer[1])
    for unit, (row, bias) in rows.items():
        w[unit], b[unit] = row, bias
    return w, b


def _on(layer: Layer, count: int) -> Layer:
    return _with(layer, {unit: (ON[0][unit], ON[1][unit]) for unit in range(count)})


def mechanism_examples() -> tuple[MechanismExample, ...]:
    """List the examples, controls without a drop last.

    Source: the mechanisms that Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) name; the formulas are this library's
    own, confirmed by the exact dimension of every example.

    Example:
      >>> first = mechanism_examples()[0]
      >>> first.row, first.drop, first.dimension
      ('M1', 4, 15)
    """
    made = [*_off(), *_always_on(), *_images(), *_hyperplanes(), *_collapsed(), *_controls()]
    return tuple(
        MechanismExample(row, words, as_params(layers), drop, frozenset(by)) for row, words, layers, drop, by in made
    )


def _off() -> list[tuple]:
    deep, shallow = (2, 3, 3, 1), (2, 3, 1)
    never = ([-1.0, -0.8, -0.6], -0.4)
    lines = ([[1.0], [-1.0], [1.0]], [0.3, 0.6, -5.0])
    hiding = ([[-0.5, 0.3, -1.0], [-0.8, 1.1, -0.7]], [1.0, 0.5])
    none = [FIRST, _with(SECOND, dict.fromkeys(range(3), never)), LAST]
    silent = _with(FIRST, {0: ([0.0, 0.0], -0.3)})
    constant = _with(FIRST, {0: ([0.0, 0.0], 0.3)})
    return [
        (
            "M1",
            "a unit is never on",
            [FIRST, _with(SECOND, {0: never}), LAST],
            pruned_drop(deep, {2: 1}),
            {"off"},
        ),
        (
            "M1",
            "two units are never on",
            [FIRST, _with(SECOND, dict.fromkeys((0, 1), never)), LAST],
            pruned_drop(deep, {2: 2}),
            {"off"},
        ),
        (
            "M1",
            "a unit of each of two layers is never on",
            [FIRST, _with(SECOND, {0: never}), _with(THIRD, {1: never}), LAST],
            pruned_drop((2, 3, 3, 3, 1), {2: 1, 3: 1}),
            {"off"},
        ),
        ("M1'", "a whole layer is off", none, pruned_drop(deep, {2: 3}), {"off"}),
        ("M5", "a unit is on only where the next layer is off", [lines, hiding, ([[0.9, -0.7]], [0.2])], 3, {"off"}),
        ("M7", "nothing reads a unit", [FIRST, ([[0.0, -1.1, 0.6]], [0.1])], 2, {"off"}),
        (
            "M7",
            "nothing reads a unit, three layers",
            [FIRST, (np.array(SECOND[0]) * [1, 1, 0], SECOND[1]), LAST],
            2,
            {"off"},
        ),
        ("M7'", "a unit reads nothing and is off", [silent, LAST], pruned_drop(shallow, {1: 1}), {"off"}),
        ("M7'", "a unit reads nothing and is on", [constant, MIXED, LAST], 3, {"image"}),
    ]


def _always_on() -> list[tuple]:
    rows = []
    for count in (1, 2, 3):
        layers = [FIRST, _on(SECOND, count), LAST]
        rows.append(("M2", f"{count} of 3 units always on", layers, always_on_drop(count, 3, 1), {"always on"}))
    one = [FIRST, _on(SECOND, 1), THIRD, LAST]
    two = [FIRST, _on(SECOND, 2), _on(THIRD, 1), LAST]
    every = [FIRST, _on(SECOND, 3), _on(THIRD, 3), LAST]
    rows.append(("M2", "1 of 3 units always on, three layers", one, always_on_drop(1, 3, 3), {"always on"}))
    drop = always_on_drop(2, 3, 3) + always_on_drop(1, 3, 1)
    rows.append(("M2", "2 units always on, then 1", two, drop, {"always on"}))
    wide = ([*ON[0], [0.7, 0.2, 0.3]], [*ON[1], 0.6])
    after = (np.array([[0.6, -0.9, 0.5, -0.4], [-0.5, 0.7, -0.8, 0.9], [0.8, 0.4, -0.7, -0.6]]), [0.2, -0.3, 0.1])
    rows.append(("M2", "two layers always on", every, bound((2, 3, 3, 3, 1)) - bound((2, 3, 1)), {"always on"}))
    drop = always_on_drop(4, 3, 3)
    rows.append(("M4'", "4 units always on see 3", [FIRST, wide, after, LAST], drop, {"always on", "image"}))
    return rows


def _images() -> list[tuple]:
    apart = ([[1.0], [-1.0]], [0.3, 0.2])
    axis = ([[1.0, 0.0], [-1.0, 0.1], [0.2, 1.0]], [-0.1, -0.2, 0.3])
    three = ([[1.0], [-1.0], [1.0]], [0.0, 0.5, 1.0])
    other, last = ([-1.1, 0.4, 0.4], 0.4), ([[0.9, -0.7]], [0.2])
    pair = _with(MIXED, {0: ([-1.0, 1.0, -0.3], -0.1)})
    pairs = _with(pair, {2: ([0.9, -1.2, -0.2], -0.05)})
    one = ([[1.0, -3.0, 0.1], other[0]], [-1.0, other[1]])
    two = ([[1.0, -0.2, 0.1], other[0]], [-0.3, other[1]])
    return [
        ("M3", "two units never on together", [apart, ([[1.0, -3.0], [-0.3, 1.2]], [-1.0, 0.2]), last], 1, {"image"}),
        ("M3", "two units never on together, two inputs", [axis, pair, LAST], 1, {"image"}),
        ("M3", "two pairs never on together", [axis, pairs, LAST], 2, {"image"}),
        ("M4", "a unit sees one linear piece of the layer below", [three, one, last], 2, {"image"}),
        ("M4", "a unit sees two linear pieces of the layer below", [three, two, last], 1, {"image"}),
        (
            "M5'", "a unit is on wherever it is seen", [apart, ([[1.0, -3.0], [1.0, -0.1]], [-1.0, -0.1]), last], 2,
            {"always on", "image"},
        ),
    ]  # fmt: skip


def _hyperplanes() -> list[tuple]:
    row, bias = np.array(FIRST[0][0]), FIRST[1][0]
    same, opposite = (_with(FIRST, {1: (list(s * row), s * bias)}) for s in (0.7, -0.7))
    merged = bound((2, 3, 1)) - bound((2, 2, 1))
    three = _with(same, {2: (list(1.9 * row), 1.9 * bias)})
    return [
        ("M6", "two units with one hyperplane, on the same side", [same, LAST], merged, {"one hyperplane", "image"}),
        (
            "M6",
            "three units with one hyperplane",
            [three, LAST],
            bound((2, 3, 1)) - bound((2, 1, 1)),
            {"one hyperplane", "image"},
        ),
        ("M6'", "two units with one hyperplane, on opposite sides", [opposite, LAST], 1, {"one hyperplane"}),
    ]


def _collapsed() -> list[tuple]:
    chain, last, pair = ([[1.0], [-1.0]], [0.0, 0.0]), ([[0.9, -0.7]], [0.2]), {"one hyperplane"}
    return [
        ("M8", "a chain of identities", [chain, (np.eye(2), [0.0, 0.0]), last], 5, {"always on", "image", "biases"}),
        (
            "M8", "a chain of identities, biased", [([[1.0], [-1.0]], [0.1, 0.1]), (np.eye(2), [-0.05, -0.05]), last],
            2, {"always on"},
        ),
        ("M9", "a fold, then units that see its sum", [chain, (np.ones((2, 2)), [-0.5, -1.0]), last], 1, pair),
    ]  # fmt: skip


def _controls() -> list[tuple]:
    two = ([[0.8, -1.1, 0.6], [0.5, 0.7, -0.9]], [0.1, -0.2])
    opposite = _with(FIRST, {1: (list(-0.7 * np.array(FIRST[0][0])), -0.7 * FIRST[1][0])})
    parallel = _with(FIRST, {1: (FIRST[0][0], -0.5)})
    narrow = ([[1.0, 0.6]], [0.2])
    after = ([[1.0], [-0.8], [1.2]], [-0.3, 1.0, -1.7])
    wide = ([[1.0, 0.4], [-0.6, 0.9], [0.3, -1.1], [-0.8, -0.7]], [0.3, -0.2, 0.25, 0.4])
    waist = ([[1.0, -0.7, 0.9, -0.5]], [0.1])
    return [
        ("control", "parallel hyperplanes", [parallel, LAST], 0, ()),
        ("control", "one unit wide", [narrow, after, LAST], 0, ()),
        ("control", "one unit wide, later", [wide, waist, after, LAST], 0, ()),
        ("control", "nothing special", [FIRST, SECOND, LAST], 0, ()),
        ("control", "nothing special, three layers", [FIRST, SECOND, THIRD, LAST], 0, ()),
        ("control", "nothing special, two outputs", [FIRST, SECOND, two], 0, ()),
        ("control", "one hyperplane from two sides, seen by two outputs", [opposite, two], 0, ()),
    ]
