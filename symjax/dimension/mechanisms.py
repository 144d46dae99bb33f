"""Why a network has hidden symmetries: its missing dimensions, unit by unit and by the mechanism that takes them.

A hidden symmetry of positive dimension is a kernel vector of the gradients beyond the scalings. Each mechanism says
which vectors these are, from the activation patterns alone; :func:`explain` builds them, checks that the gradients do
not see them, and counts what each adds to the span of the scalings and of those before it. What is left of the kernel
is reported as unexplained.

In this order, each as ``mechanism`` of a :class:`Part`:

* ``off``: a unit is never on where an output could see it. Its weights and biases, and those that read it, are free.
* ``image``: what a unit sees while it is seen lies in an affine space of fewer than n_{l-1} dimensions. Its incoming
  weights are free along the others.
* ``always on``: a unit of the next layer, while it is seen, finds this one always on or always off, and so does every
  other: no kink is seen. The unit may be translated, and mixed with others of its layer that are on there too.
* ``one hyperplane``: two units of a layer vanish on one hyperplane; their incoming weights act alike, or, where one is
  on when the other is off, as a bias.
* ``biases``: the biases of two adjacent layers move against each other.
* ``adjacent layers``: any other direction within two adjacent layers; not a named mechanism.

Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) name most of them; the vectors are this library's own.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from symjax.dimension.gradients import pattern_rows, scaling_tangents
from symjax.dimension.networks import Params, as_params, bound, flatten, split, widths
from symjax.dimension.regions import MOST_REGIONS, Regions, activation_regions
from symjax.dimension.row_space import span

__all__ = ["Explanation", "Part", "Visibility", "explain", "visibility"]

Mechanism = Literal["off", "image", "always on", "one hyperplane", "biases", "adjacent layers"]

NULL = 1e-9  # a unit vector that the balanced gradients see less than this is in their kernel
CHUNK = 512  # patterns


class Part(NamedTuple):
    """What one mechanism takes off the dimension at one unit.

    Attributes:
      mechanism: its name.
      layer: of the unit, 1 for the first hidden layer; d for the outputs.
      unit: its number within the layer; None where the whole layer is meant.
      drop: dimensions of the kernel that were not accounted for before.
    """

    mechanism: Mechanism
    layer: int
    unit: int | None
    drop: int


class Explanation(NamedTuple):
    """The missing dimensions of a network, accounted for.

    Attributes:
      dimension: the functional dimension.
      bound: the largest of the architecture, ``D - H``.
      scalings: rank of the scalings' tangents; H unless units hang together through zeros alone.
      parts: what the mechanisms explain, in the order of the module; their drops are independent.
      unexplained: dimensions of the kernel that no mechanism accounts for.
    """

    dimension: int
    bound: int
    scalings: int
    parts: tuple[Part, ...]
    unexplained: int

    @property
    def hidden(self) -> int:
        """Hidden directions: the kernel without the scalings; all drops and the unexplained rest."""
        return sum(part.drop for part in self.parts) + self.unexplained

    def __str__(self) -> str:
        first = f"dimension {self.dimension} of at most {self.bound}; {self.hidden} hidden directions"
        lines = [
            f"  layer {part.layer}, {'all units' if part.unit is None else f'unit {part.unit}'}: "
            f"{part.mechanism}, {part.drop}"
            for part in self.parts
        ]
        return "\n".join([first, *lines, *([f"  unexplained: {self.unexplained}"] if self.unexplained else [])])


class Visibility(NamedTuple):
    """Where hidden units are on and where an output would see them.

    Attributes:
      on: booleans (R, H).
      seen: whether the derivative of some output by the unit's value is not zero, with all later patterns as they are.
    """

    on: np.ndarray
    seen: np.ndarray


def visibility(params: Params, patterns: np.ndarray) -> Visibility:
    """Say for every region which units are on, and which of them, on or off, an output would see.

    Source: this library's own.

    Args:
      params: the network.
      patterns: of its regions, (R, H).

    Returns:
      Two tables of booleans.

    Example:
      >>> params = [(np.eye(2), np.zeros(2)), (np.array([[1.0, 0.0]]), np.zeros(1))]
      >>> visibility(params, np.array([[True, True]])).seen.tolist()
      [[True, False]]
    """
    sizes, seen = widths(params), []
    delta = np.broadcast_to(np.eye(sizes[-1]), (len(patterns), sizes[-1], sizes[-1]))
    terms = delta
    for (w, _), on in zip(params[:0:-1], split(patterns, sizes)[::-1], strict=True):
        delta, terms = delta @ w, terms @ np.abs(w)
        seen.insert(0, np.any(np.abs(delta) > 1e-12 * terms, axis=1))
        delta, terms = delta * on[:, None], terms * on[:, None]
    return Visibility(patterns, np.concatenate(seen, axis=1) if seen else patterns)


class _Columns(NamedTuple):
    """Where the parameters of each layer lie: ``w[l][i]`` and ``b[l]`` hold column numbers, layers from 0."""

    w: list[np.ndarray]
    b: list[np.ndarray]


def _columns(params: Params) -> _Columns:
    numbers, start = _Columns([], []), 0
    for w, b in params:
        numbers.w.append(start + np.arange(w.size).reshape(w.shape))
        numbers.b.append(start + w.size + np.arange(len(b)))
        start += w.size + len(b)
    return numbers


class _Kernel:
    """The kernel of the gradients in balanced coordinates, and the span of what is explained of it."""

    def __init__(self, params: Params, patterns: np.ndarray) -> None:
        size = len(flatten(params))
        chunks = (
            pattern_rows(params, patterns[start : start + CHUNK]).reshape(-1, size)
            for start in range(0, len(patterns), CHUNK)
        )
        space = span(chunks, size)
        self.rank = space.evidence().rank
        lengths = np.linalg.norm(space.triangle, axis=0)
        self.lengths = np.where(lengths > 0, lengths, 1.0)
        self.rows = space.triangle / self.lengths
        self.basis = np.zeros((0, size))

    def add(self, vectors: np.ndarray) -> int:
        """Add vectors (k, D) of the parameters that lie in the kernel; say how many are new."""
        balanced = vectors * self.lengths
        lengths = np.linalg.norm(balanced, axis=1, keepdims=True)
        balanced = balanced[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
        balanced = balanced[np.linalg.norm(balanced @ self.rows.T, axis=1) < NULL]
        rest = balanced - (balanced @ self.basis.T) @ self.basis
        _, sizes, right = np.linalg.svd(rest - (rest @ self.basis.T) @ self.basis, full_matrices=False)
        fresh = right[sizes > 1e-7]
        self.basis = np.concatenate([self.basis, fresh])
        return len(fresh)

    def within(self, columns: np.ndarray) -> np.ndarray:
        """Kernel vectors (k, D) that move these columns alone."""
        _, sizes, right = np.linalg.svd(self.rows[:, columns])
        null = right[np.concatenate([sizes, np.zeros(len(right) - len(sizes))]) < NULL]
        vectors = np.zeros((len(null), len(self.lengths)))
        vectors[:, columns] = null
        return vectors / self.lengths


def explain(params: Params, regions: Regions | np.ndarray | None = None, most: int = MOST_REGIONS) -> Explanation:
    """Account for the missing dimensions of a ReLU network, unit by unit.

    Source: this library's own; see the module.

    Args:
      params: ``[(W, b), ...]``.
      regions: its regions, or patterns (P, H) that were sampled; None: they are enumerated.
      most: as for :func:`~symjax.dimension.regions.activation_regions`.

    Returns:
      The explanation; with sampled patterns, of the dimension that these have.

    Raises:
      ValueError: patterns of another shape; as :func:`~symjax.dimension.regions.activation_regions`.

    Example:
      >>> from symjax.dimension.examples import mechanism_examples
      >>> print(explain(mechanism_examples()[0].params))
      dimension 15 of at most 19; 4 hidden directions
        layer 2, unit 0: off, 4
    """
    params = as_params(params)
    if regions is None:
        regions = activation_regions(params, most=most)
    patterns = regions.patterns if isinstance(regions, Regions) else np.asarray(regions, bool)
    if patterns.ndim != 2 or not len(patterns) or patterns.shape[1] != sum(widths(params)[1:-1]):
        raise ValueError(
            f"regions have patterns of shape {patterns.shape}, but must have shape (P, {sum(widths(params)[1:-1])})"
        )
    kernel = _Kernel(params, patterns)
    scalings = kernel.add(scaling_tangents(params))
    view = visibility(params, patterns)
    on, seen = (split(table, widths(params)) for table in view)
    columns, parts = _columns(params), []
    for mechanism, layer, unit, vectors in _candidates(params, kernel, on, seen, columns):
        drop = kernel.add(vectors) if len(vectors) else 0
        if drop:
            parts.append(Part(mechanism, layer + 1, unit, drop))
    unexplained = len(kernel.lengths) - kernel.rank - len(kernel.basis)
    return Explanation(kernel.rank, bound(widths(params)), scalings, tuple(parts), unexplained)


Candidate = tuple[Mechanism, int, int | None, np.ndarray]


def _candidates(
    params: Params, kernel: _Kernel, on: list[np.ndarray], seen: list[np.ndarray], columns: _Columns
) -> Iterator[Candidate]:
    """Vectors of each mechanism in turn, layer after layer."""
    hidden = range(len(params) - 1)
    shown = [np.any(on[layer] & seen[layer], axis=0) for layer in hidden]
    for layer in hidden:
        for unit in np.flatnonzero(~shown[layer]).tolist():
            own = np.concatenate([columns.w[layer][unit], columns.b[layer][[unit]], columns.w[layer + 1][:, unit]])
            yield "off", layer, unit, np.eye(len(kernel.lengths))[own]
    for layer in range(1, len(params)):
        for unit in range(len(params[layer][1])):
            yield "image", layer, unit, kernel.within(np.append(columns.w[layer][unit], columns.b[layer][unit]))
    for layer in hidden:
        readers = np.where(params[layer + 1][0] == 0, -1, _readers(on, seen, layer))  # what weighs nothing is not read
        smooth = np.any(readers == 1, axis=0) & np.all(readers != 0, axis=0)
        block = np.flatnonzero(smooth & shown[layer]).tolist()
        for unit in block:
            yield "always on", layer, unit, _mixings(params, layer, unit, readers[:, unit] == 1)
        if len(block) > 1:  # more of them than the layer above can tell apart
            around = (columns.w[layer][block], columns.b[layer][block], columns.w[layer + 1][:, block])
            yield "always on", layer, None, kernel.within(np.concatenate([each.ravel() for each in around]))
    for layer in hidden:
        for unit, other in _pairs(params, layer):
            own = (columns.w[layer][[unit, other]].ravel(), columns.b[layer][[unit, other]], columns.b[layer + 1])
            yield "one hyperplane", layer, unit, kernel.within(np.concatenate(own))
    for layer in hidden:
        yield "biases", layer, None, kernel.within(np.concatenate([columns.b[layer], columns.b[layer + 1]]))
    for layer in hidden:
        both = (columns.w[layer], columns.b[layer], columns.w[layer + 1], columns.b[layer + 1])
        yield "adjacent layers", layer, None, kernel.within(np.concatenate([each.ravel() for each in both]))


def _readers(on: list[np.ndarray], seen: list[np.ndarray], layer: int) -> np.ndarray:
    """How each unit above finds each unit of a layer while it is seen itself: 1 on, -1 off, 0 both; (n_{l+1}, n_l)."""
    last = layer + 1 == len(on)
    regions = np.ones((len(on[layer]), 1), bool) if last else on[layer + 1] & seen[layer + 1]
    some_on = np.any(regions[:, :, None] & on[layer][:, None, :], axis=0)
    some_off = np.any(regions[:, :, None] & ~on[layer][:, None, :], axis=0)
    return np.where(some_on & some_off, 0, np.where(some_on, 1, -1))


def _mixings(params: Params, layer: int, unit: int, readers: np.ndarray) -> np.ndarray:
    """Tangents of adding each unit of a layer, or a constant, to one that is on, and taking it off in its readers."""
    (w, b), above = params[layer], params[layer + 1][0] * readers[:, None]
    vectors = []
    for other in [*range(len(b)), None]:
        moved = [(np.zeros_like(each), np.zeros_like(bias)) for each, bias in params]
        moved[layer][0][unit] = 0.0 if other is None else w[other]
        moved[layer][1][unit] = 1.0 if other is None else b[other]
        if other is None:
            moved[layer + 1][1][:] = -above[:, unit]
        else:
            moved[layer + 1][0][:, other] = -above[:, unit]
        vectors.append(flatten(moved))
    return np.stack(vectors)


def _pairs(params: Params, layer: int) -> Iterator[tuple[int, int]]:
    """Units of a layer whose weights and bias are multiples of each other."""
    rows = np.column_stack(params[layer])
    lengths = np.linalg.norm(rows, axis=1)
    for unit in range(len(rows)):
        for other in range(unit + 1, len(rows)):
            cosine = abs(rows[unit] @ rows[other]) / max(lengths[unit] * lengths[other], np.finfo(float).tiny)
            if cosine > 1 - 1e-14:
                yield unit, other
